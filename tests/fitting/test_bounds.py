"""Bounded parameters: the transformations, their derivatives at extremes, and bad bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.fitting.bounds import Bounds

PAIRS = [None, (None, None), (-1.0, None), (-np.inf, 3.0), (-0.5, 2.0), (0.0, 1.0)]
PARAMS = np.array([0.7, -3.0, 4.0, -2.0, 1.3, 0.2])


@pytest.fixture(scope="module")
def bounds() -> Bounds:
    return Bounds.from_pairs(PAIRS, len(PAIRS))


def test_each_kind_of_bound_follows_its_formula(bounds):
    unbounded = np.asarray(bounds.to_unbounded(jnp.asarray(PARAMS)))
    scale = np.array([2.5, 1.0]) / np.pi
    middle = np.array([0.75, 0.5])
    expected = [
        PARAMS[0],
        PARAMS[1],
        PARAMS[2] + 1 + 1 / (-1 - PARAMS[2]),
        PARAMS[3] - 3 + 1 / (3 - PARAMS[3]),
        *(scale * np.tan((PARAMS[4:] - middle) / scale)),
    ]
    np.testing.assert_allclose(unbounded, expected, rtol=2e-6)


def test_round_trip_gives_the_parameters_back(bounds):
    back = bounds.to_bounded(bounds.to_unbounded(jnp.asarray(PARAMS)))
    np.testing.assert_allclose(back, PARAMS, rtol=3e-6)


def test_derivative_equals_finite_differences_and_is_finite_at_extremes(bounds):
    u = jnp.asarray([0.3, -2.0, 1.5, -0.4, 0.8, -5.0])
    jacobian = np.diag(jax.jacobian(bounds.to_bounded)(u))
    step = 1e-2
    differences = (bounds.to_bounded(u + step) - bounds.to_bounded(u - step)) / (2 * step)
    np.testing.assert_allclose(jacobian, differences, rtol=1e-3, atol=1e-4)
    for extreme in (-1e6, 1e6):
        at = jnp.full(len(PAIRS), extreme)
        assert np.all(np.isfinite(jax.jacobian(bounds.to_bounded)(at)))


def test_many_sets_of_parameters_are_mapped_at_once(bounds):
    table = np.stack([PARAMS, PARAMS])
    np.testing.assert_allclose(
        bounds.to_unbounded(jnp.asarray(table))[1],
        bounds.to_unbounded(jnp.asarray(PARAMS)),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("pairs", "guess", "message"),
    [
        ([(2.0, 1.0)], [1.5], "p: lower bound 2 is not below upper bound 1"),
        ([(0.0, 1.0)], [1.5], r"p: guess 1.5 is outside its bounds \(0, 1\)"),
        ([(0.0, 1.0)], [0.0], "p: guess 0 is outside its bounds"),
        ([None], [np.nan], "p: guess nan is not a finite number"),
    ],
)
def test_bad_bounds_and_guesses_are_named(pairs, guess, message):
    with pytest.raises(InputError, match=message):
        Bounds.from_pairs(pairs, 1).check(np.array(guess), ["p"])


def test_wrong_number_of_bounds_is_refused():
    with pytest.raises(InputError, match="2 entries for 3 parameters"):
        Bounds.from_pairs([None, None], 3)
