"""The step of a quadratic function within limits."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from kdescent_dist.response.bounded_step import Box, bounded_step, minimum_in_box
from kdescent_dist.response.linear_response import eigenvalues


def quadratic(curvature, determined=None):
    """What a step needs of a linearized loss."""
    size = len(curvature)
    determined = np.ones(size, bool) if determined is None else np.array(determined)
    curvature = np.array(curvature, float)[np.ix_(determined, determined)]
    return SimpleNamespace(axes=eigenvalues(curvature), determined=determined)


def curved(seed, size):
    values = np.random.default_rng(seed).normal(size=(size, 2 * size))
    return values @ values.T


def test_without_limits_the_step_ends_at_the_minimum():
    curvature, gradient = curved(1, 5), np.arange(5.0)
    free = Box(np.full(5, -np.inf), np.full(5, np.inf))
    step, held = bounded_step(np.zeros(5), gradient, quadratic(curvature), free)
    np.testing.assert_allclose(curvature @ step, -gradient, atol=1e-10)
    assert not held.any()


@pytest.mark.parametrize("seed", range(20))
def test_parameters_at_a_limit_are_held_and_the_others_are_best_with_them_there(seed):
    rng = np.random.default_rng(seed)
    curvature, gradient = curved(seed, 4), 5 * rng.normal(size=4)
    params, box = np.zeros(4), Box(np.full(4, -0.3), np.full(4, 0.3))
    step, held = bounded_step(params, gradient, quadratic(curvature), box)
    assert np.all(np.abs(step) <= 0.3 + 1e-12)
    np.testing.assert_allclose(np.abs(step[held]), 0.3)
    np.testing.assert_allclose((gradient + curvature @ step)[~held], 0, atol=1e-9)
    assert gradient @ step + 0.5 * step @ curvature @ step < 0


def test_of_independent_parameters_only_the_one_that_would_cross_is_held():
    box = Box(np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    at = quadratic(np.diag([1.0, 4.0]))
    step, held = bounded_step(np.array([0.5, 0.5]), np.array([2.0, 1.0]), at, box)
    assert step.tolist() == [-0.5, -0.25]
    assert held.tolist() == [True, False]
    # At its limit already, it stays; a step back inside is free.
    step, held = bounded_step(np.array([0.0, 0.5]), np.array([2.0, 1.0]), at, box)
    assert step.tolist() == [0.0, -0.25]
    assert held.tolist() == [True, False]
    step, held = bounded_step(np.array([0.0, 0.5]), np.array([-0.5, 1.0]), at, box)
    assert step.tolist() == [0.5, -0.25]
    assert not held.any()


def test_a_parameter_that_is_not_determined_stays():
    at = quadratic(np.diag([1.0, 1.0]), [True, False])
    box = Box(np.full(2, -np.inf), np.full(2, np.inf))
    assert bounded_step(np.zeros(2), np.ones(2), at, box)[0].tolist() == [-1.0, 0.0]


def test_damping_shortens_the_step():
    box = Box(np.full(1, -np.inf), np.full(1, np.inf))
    step, _ = bounded_step(np.zeros(1), np.ones(1), quadratic([[2.0]]), box, damping=1.0)
    np.testing.assert_allclose(step, -0.25)


def test_rounding_does_not_bring_parameters_to_a_bound():
    box = Box.of(np.array([1e6]), np.array([1e6 + 1]), np.array([1e-4]))
    for value in (1e6, 1e6 + 2e-4, 1e6 + 1):
        rounded = box.rounded(np.array([value]), np.dtype(np.float32))
        assert 1e6 < rounded[0] < 1e6 + 1


def test_limits_are_inside_the_bounds_by_the_margin_and_at_most_a_thousandth_of_the_range():
    box = Box.of(np.array([0.0, 0.0, -np.inf]), np.array([1.0, np.inf, 2.0]), np.full(3, 0.01))
    np.testing.assert_allclose(box.low, [1e-3, 0.01, -np.inf])
    np.testing.assert_allclose(box.high, [0.999, np.inf, 1.99])


@pytest.mark.parametrize("size", [3, 30, 60])
def test_the_minimum_is_that_of_another_method(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(size + 2, size)) * np.geomspace(1, 100, size)
    target = rng.normal(size=size + 2)
    low, high = -rng.exponential(size=(2, size)) * 0.01 * [[1.0], [-1.0]]
    high[::3] = np.inf
    low[1::3] = 0.0
    found, held = minimum_in_box(root.T @ root, -root.T @ target, low, high)
    known = lsq_linear(root, target, (low, high), method="bvls", tol=1e-14)
    np.testing.assert_allclose(found, known.x, atol=1e-8)
    assert 0 < np.sum(held) < size
    np.testing.assert_array_equal(held, known.active_mask != 0)
