"""Fits of parameters with bounds, and of parameters of any size."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import FitConfig
from kdescent_dist.fitting.arctan_map import ArctanMap
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.coordinates import Coordinates
from kdescent_dist.fitting.dropin import adam
from kdescent_dist.fitting.loop import fit
from kdescent_dist.objective.loss_function import LossObjective


def to_target(params, target):
    """The squared distance from the target, in units of the target."""
    return jnp.sum((params / target - 1.0) ** 2)


def fitted(guess, target, pairs=None, steps=300, rate=0.1, bounds="logit", **options):
    loss = LossObjective(to_target, {"target": np.array(target, np.float32)}, with_key=False)
    config = FitConfig(steps=steps, bounds=bounds)
    if not isinstance(guess, Parameters):
        options["bounds"] = pairs
    return fit(loss, guess, optax.adam(rate), config=config, **options)


@pytest.mark.parametrize(
    ("pair", "guess", "target"),
    [
        ((0.0, 1.0), 1e-5, 0.6),
        ((0.0, 1.0), 1 - 1e-5, 0.4),
        ((0.0, None), 1e-5, 1.5),
        ((None, 0.0), -1e-5, -1.5),
    ],
)
def test_a_fit_that_begins_near_a_bound_comes_to_the_interior(pair, guess, target):
    parameters = Parameters.of_vector([guess], bounds=[pair], scale={"p0": 1.0})
    result = fitted(parameters, [target])
    assert result.params[-1, 0] == pytest.approx(target, rel=2e-3)
    frozen = fitted(parameters, [target], bounds="arctan")
    assert abs(frozen.params[-1, 0] - guess) < 1e-3


def test_a_fit_that_was_driven_to_a_bound_comes_back():
    """Away from a target that is beyond the bound at first, and within at last."""

    def loss(params, target):
        return jnp.sum((params - target) ** 2)

    def steps(start, target, optimizer, number):
        coordinates = Coordinates.of(Parameters.of_vector([0.5], bounds=[(0.0, 1.0)]))
        moved = coordinates.of_params(start)
        state = optimizer.init(moved)
        gradient = jax.jit(jax.grad(lambda moved: loss(coordinates.to_params(moved), target)))
        for _ in range(number):
            updates, state = optimizer.update(gradient(moved), state)
            moved = optax.apply_updates(moved, updates)
        return coordinates.to_params(moved)

    driven = steps(np.array([0.5], np.float32), -1.0, optax.adam(0.05), 300)
    assert 0 < driven[0] < 2e-3
    back = steps(driven, 0.5, optax.adam(0.05), 300)
    assert back[0] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "pair", [(0.3, 0.7), (0.0, 1e-7), (-1e-3, None), (None, 0.1), (5e5, 5.1e5), (-1e30, 1e9)]
)
@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_a_fit_never_reaches_a_bound_not_even_by_rounding(pair, direction):
    low, high = (end if end is None else np.float32(end) for end in pair)
    guess = 0.5 * ((low or 0.0) + (high or 0.0)) if pair[0] != -1e30 else 0.5
    loss = LossObjective(lambda p: direction * jnp.sum(p), with_key=False)
    options = {"bounds": [pair], "config": FitConfig(steps=60)}
    result = fit(loss, np.array([guess], np.float32), optax.adam(1e9), **options)
    assert np.all(np.isfinite(result.params)), result.params
    assert low is None or np.all(result.params > low)
    assert high is None or np.all(result.params < high)


@pytest.mark.parametrize(
    "pair",
    [
        (-1e38, 1e38),
        (-3e38, 3e38),
        (-1e300, 1e300),
        (-1e30, None),
        (None, 1e30),
        (0.0, 1e30),
        (-1e9, 1e9),
        np.array([np.finfo(np.float32).min, np.finfo(np.float32).max]),
    ],
)
def test_bounds_that_would_overflow_are_as_none(pair):
    result = fitted([0.5], [2.0], [pair])
    assert np.all(np.isfinite(result.params))
    assert result.params[-1, 0] == pytest.approx(2.0, rel=2e-3)
    first = result.params[1, 0] - result.params[0, 0]
    assert 0.03 < first < 0.11  # a step of Adam, and not one of the width of these bounds


def test_a_large_parameter_within_large_bounds_is_finite():
    # The factor makes the gradient a number of single precision.
    loss = LossObjective(lambda p: 1e6 * jnp.sum((p / 2e37 - 1.0) ** 2), with_key=False)
    options = {"bounds": [(-3e38, 3e38)], "config": FitConfig(steps=300)}
    result = fit(loss, [1e37], optax.adam(0.02), **options)
    assert np.all(np.isfinite(result.params))
    assert result.params[-1, 0] == pytest.approx(2e37, rel=2e-3)


def test_a_guess_on_its_bound_is_moved_inside_and_told(caplog):
    with caplog.at_level(logging.INFO, "kdescent_dist"):
        result = fitted([0.0, 1.0], [0.5, 0.5], [(0.0, None), (0.0, 1.0)], names=["a", "b"])
    told = [r.message for r in caplog.records if "is on its bound" in r.message]
    assert told[0] == "a: the guess 0 is on its bound: the fit begins at 0.00100000005"
    assert told[1].startswith("b: the guess 1 is on its bound: the fit begins at 0.99")
    np.testing.assert_allclose(result.params[0], [1e-3, 0.999], rtol=1e-5)
    np.testing.assert_allclose(result.params[-1], [0.5, 0.5], rtol=5e-3)
    with pytest.raises(InputError, match=r"p0: guess -0.1 is outside its bounds \(0, inf\)"):
        fitted([-0.1], [0.5], [(0.0, None)])
    with pytest.raises(InputError, match=r"p0: guess 0 is outside its bounds \(0, inf\)"):
        fitted([0.0], [0.5], [(0.0, None)], bounds="arctan")


# --- sizes -------------------------------------------------------------------------------------


def test_parameters_of_all_sizes_move_in_one_fit(caplog):
    guess, target = [1e-6, 3e6, 0.5, 2e-5], [3e-6, 4e6, 0.7, 3e-5]
    pairs = [None, None, None, (1e-5, 1e-4)]

    def of_tree(tree):
        return (tree["small"] / 3e-6 - 1.0) ** 2 + jnp.sum((tree["large"] / 4e6 - 1.0) ** 2)

    with caplog.at_level(logging.INFO, "kdescent_dist"):
        result = fitted(guess, target, pairs, rate=0.03)
    np.testing.assert_allclose(result.params[-1], target, rtol=2e-3)
    assert "scales of parameters in the optimizer: p0: 1e-06, p1: 1e+06, p3: 0.0001" in caplog.text
    tree = Parameters.of_tree({"small": 1e-6, "large": np.array([3e6, 2e6])})
    result = fit(LossObjective(of_tree, with_key=False, parameters=tree), tree, optax.adam(0.03))
    np.testing.assert_allclose(result.params[-1], [3e-6, 4e6, 4e6], rtol=2e-3)
    # With the unit 1, one jumps far away, and the other hardly moves.
    plain = Parameters.of_vector([1e-6, 3e6], scale={"p0": 1.0, "p1": 1.0})
    result = fitted(plain, [3e-6, 4e6], rate=0.03)
    assert np.max(np.abs(result.params[:, 0])) > 1e-3
    assert abs(result.params[-1, 1] - 3e6) < 100


# --- earlier versions --------------------------------------------------------------------------


def test_a_fit_begun_with_the_map_of_earlier_versions_is_continued_with_that_alone(tmp_path):
    def start(steps, **options):
        pairs = [(0.0, 1.0), None]
        return fitted([0.2, 1.0], [0.5, 2.0], pairs, steps, checkpoints=tmp_path, **options)

    start(3, bounds="arctan")
    with pytest.raises(InputError, match=r"fit.bounds: arctan -> logit\n.*set fit.bounds=arctan\."):
        start(5)
    assert len(start(5, bounds="arctan").losses) == 6


def test_a_fit_begun_without_scales_is_continued_without_them_alone(tmp_path):
    def start(steps, scale=None):
        parameters = Parameters.of_vector([1e-6, 1.0], scale=scale)
        return fitted(parameters, [3e-6, 2.0], steps=steps, checkpoints=tmp_path)

    start(3, {"p0": 1.0})
    message = r"scale: default -> \[1e-06, 1.0\]\n.* set parameters.NAME.scale=1\."
    with pytest.raises(InputError, match=message):
        start(5)
    assert len(start(5, {"p0": 1.0}).losses) == 6


def test_a_fit_without_bounds_is_the_same_by_either_map(tmp_path):
    def start(steps, bounds):
        return fitted([0.2], [0.5], None, steps, bounds=bounds, checkpoints=tmp_path)

    start(3, "arctan")
    assert len(start(5, "logit").losses) == 6


def test_the_drop_in_functions_keep_the_map_of_diffopt_and_take_no_scale():
    guess, pairs = [1e-6, 0.5, 2.0], [None, (0.0, 1.0), (1.0, None)]
    target = np.array([1.0, 0.7, 3.0], np.float32)

    def loss(params):
        return jnp.sum((params - target) ** 2)

    found, _ = adam(loss, guess, 5, pairs, learning_rate=0.1, randkey=None, progress=False)
    map_, optimizer = ArctanMap(Bounds.from_pairs(pairs, 3)), optax.adam(0.1)
    moved = map_.to_unbounded(np.array(guess, np.float32))
    state = optimizer.init(moved)
    for step in range(6):
        np.testing.assert_allclose(found[step], map_.to_bounded(moved), rtol=1e-6)
        gradient = jax.grad(lambda moved: loss(map_.to_bounded(moved)))(moved)
        updates, state = optimizer.update(gradient, state)
        moved = optax.apply_updates(moved, updates)
    with pytest.raises(InputError, match="p1: guess 1 is outside its bounds"):
        adam(loss, [0.0, 1.0, 2.0], 5, pairs, randkey=None, progress=False)
