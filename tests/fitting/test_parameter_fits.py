"""Fits of parameters that are a tree."""

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import FitConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.fitting.loop import FitResult, fit
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.population_objective import PopulationObjective
from support import fits, problems

pytestmark = pytest.mark.as_shipped


class Line(NamedTuple):
    """The color at mass 0 and its slope."""

    mean: float
    slope: float


TREE = {"line": Line(0.0, 0.2), "shape": np.array([0.9, 0.5], np.float32)}
BOUNDS = {"shape[0]": (0.05, None), "shape[1]": (0.0, 1.0)}
NAMES = ("line.mean", "line.slope", "shape[0]", "shape[1]")


def model(params, key, catalog):
    """The model of ``problems`` with its parameters in a tree."""
    values = (*params["line"], params["shape"][0], params["shape"][1])
    return problems.toy(dict(zip(problems.NAMES, values, strict=True)), key, catalog)


def objective(parameters: Parameters, devices: int, **options) -> PopulationObjective:
    return PopulationObjective(
        model,
        parameters,
        fits.bins(),
        training_weight=float(problems.training()[1].sum()),
        size=problems.SIZE,
        kernel_blocks=1,
        mesh=make_mesh(devices),
        **options,
    )


@cache
def run(devices: int) -> FitResult:
    parameters = Parameters.of_tree(TREE, bounds=BOUNDS)
    config = FitConfig(finish="none", steps=fits.STEPS, steps_per_call=10)
    return fit(objective(parameters, devices), parameters, fits.ADAM, config=config)


@pytest.mark.nightly
def test_a_tree_is_fitted_with_the_same_bits_on_one_device_and_on_four():
    fits.assert_same_bits(run(4), run(1))


@pytest.mark.slow
def test_a_tree_is_fitted_as_its_vector_is():
    np.testing.assert_allclose(run(1).params, fits.straight().params, rtol=1e-5, atol=1e-6)
    assert run(1).names == NAMES
    assert list(run(1).final) == list(NAMES)
    tree = run(1).tree
    assert isinstance(tree["line"], Line)
    np.testing.assert_array_equal([*tree["line"], *tree["shape"]], run(1).params[-1])


def test_a_term_of_the_users_own_gets_the_tree():
    seen = []

    def custom(sums, truth, params):
        seen.append(params["line"].slope)
        return 0.0 * params["shape"][1]

    parameters = Parameters.of_tree(TREE)
    with_term = objective(parameters, 1, custom=custom)
    with_term.check(parameters.guess.astype(np.float32))
    assert seen


@pytest.mark.parametrize("written_out", [True, False])
def test_a_loss_gets_the_tree(written_out):
    parameters = Parameters.of_tree({"b": 3.0, "a": np.array([1.0, -1.0])}, bounds={"b": (0, 10)})

    def loss(params):
        return (params["b"] - 2.0) ** 2 + jnp.sum((params["a"] - 1.5) ** 2)

    of_tree = LossObjective(loss, with_key=False, parameters=parameters)
    steps = {"config": FitConfig(finish="none", steps=300), "written_out": written_out}
    result = fit(of_tree, parameters, optax.adam(0.1), **steps)
    assert result.tree["b"] == pytest.approx(2.0, abs=1e-3)
    np.testing.assert_allclose(result.tree["a"], [1.5, 1.5], atol=1e-3)


@pytest.mark.slow
def test_a_fit_of_a_tree_is_continued_and_one_of_other_bounds_is_refused(tmp_path):
    def start(steps, bounds):
        parameters = Parameters.of_tree(TREE, bounds=bounds)
        config = FitConfig(finish="none", steps=steps, steps_per_call=10)
        folder = tmp_path / "checkpoints"
        one = objective(parameters, 1)
        return fit(one, parameters, fits.ADAM, config=config, checkpoints=folder)

    start(11, BOUNDS)
    fits.assert_same_bits(start(fits.STEPS, BOUNDS), run(1))
    with pytest.raises(InputError, match="high: "):
        start(fits.STEPS, {**BOUNDS, "line": (None, 9.0)})


def test_parameters_come_with_their_bounds_and_are_those_of_the_objective():
    parameters = Parameters.of_tree(TREE)
    with pytest.raises(InputError, match="bounds, names: the parameters that are given have their"):
        fit(objective(parameters, 1), parameters, fits.ADAM, bounds=[None] * 4)
    other = Parameters.of_vector(problems.GUESS, problems.NAMES)
    with pytest.raises(InputError, match=r"the objective has line.mean, .*, not mean, slope"):
        fit(objective(parameters, 1), other, fits.ADAM)


def quadratic(params, randkey=None):
    return jnp.sum((params - jnp.array([1.0, 2.0, 3.0])) ** 2)


def of_vector(optimizer=fits.ADAM, steps=40, **given):
    parameters = Parameters.of_vector([0.5, 0.25, 0.5], "abc", [(0, 4), (0.25, 4), None], **given)
    return fit(
        LossObjective(quadratic),
        parameters,
        optimizer,
        config=FitConfig(finish="none", steps=steps),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        fits.ADAM,
        optax.adamw(0.05, weight_decay=0.5),
        optax.lbfgs(),
        optax.chain(optax.clip_by_global_norm(0.1), optax.lion(0.01)),
    ],
    ids=["adam", "adamw", "lbfgs", "clipped"],
)
def test_a_fixed_parameter_keeps_its_value_whatever_the_optimizer_does(optimizer):
    """Also on a bound, where one that moves may not be."""
    result = of_vector(optimizer, fixed=["b"])
    np.testing.assert_array_equal(result.params[:, 1], np.float32(0.25))
    assert np.all(result.params[-1, [0, 2]] != result.params[0, [0, 2]])
    assert result.state.params.shape == (2,)


def test_the_others_move_as_if_there_were_no_fixed_parameter():
    alone = fit(
        LossObjective(lambda p, randkey=None: quadratic(jnp.array([p[0], 0.25, p[1]]))),
        Parameters.of_vector([0.5, 0.5], "ac", [(0, 4), None]),
        fits.ADAM,
        config=FitConfig(finish="none", steps=40),
    )
    result = of_vector(fixed=["b"])
    np.testing.assert_allclose(result.params[:, [0, 2]], alone.params, rtol=1e-6)
    np.testing.assert_allclose(result.grad_norms, alone.grad_norms, rtol=1e-6)


def test_a_step_is_in_units_of_the_scale():
    """Adam's first step is its learning rate in each coordinate."""
    result = of_vector(optax.adam(1e-3), steps=1, scale={"c": 20.0}, fixed=["b"])
    first = result.params[1] - result.params[0]
    assert first[2] == pytest.approx(20e-3, rel=1e-3)
    plain = of_vector(optax.adam(1e-3), steps=1, fixed=["b"])
    assert first[0] == plain.params[1, 0] - plain.params[0, 0]


def test_a_small_parameter_with_one_bound_moves_by_its_scale():
    """Its map has a length of 1, which would be a thousand times the parameter."""
    parameters = Parameters.of_vector([1e-3], bounds=[(0, None)], scale={"p0": 1e-3})

    def loss(params, randkey):
        return jnp.sum((params * 1e3 - 3.0) ** 2)

    result = fit(
        LossObjective(loss), parameters, optax.adam(1e-2), config=FitConfig(finish="none", steps=1)
    )
    # With p = softplus(u), of p in units of its scale, dp / du is 1 - 1 / e at the guess.
    assert result.params[1, 0] - 1e-3 == pytest.approx((1 - np.exp(-1)) * 1e-5, rel=0.02)


@pytest.mark.slow
def test_a_tree_of_scaled_and_fixed_parameters_has_the_same_bits_on_any_mesh(tmp_path):
    parameters = Parameters.of_tree(
        TREE, bounds=BOUNDS, fixed=["shape[0]"], scale={"line": 2.0, "shape": 0.5}
    )

    def start(devices, steps=fits.STEPS, **options):
        config = FitConfig(finish="none", steps=steps, steps_per_call=10)
        return fit(objective(parameters, devices), parameters, fits.ADAM, config=config, **options)

    straight = start(1)
    assert np.all(straight.params[:, 2] == np.float32(0.9))
    fits.assert_same_bits(start(4), straight)
    start(1, steps=11, checkpoints=tmp_path / "checkpoints")
    fits.assert_same_bits(start(4, checkpoints=tmp_path / "checkpoints"), straight)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"fixed": ["a"]}, r"fixed: default -> \['a'\]"),
        ({"scale": {"b": 2.0}}, "scale: default ->"),
    ],
)
def test_a_fit_with_other_fixed_parameters_or_scales_is_another_fit(tmp_path, given, line):
    def start(steps, **given):
        parameters = Parameters.of_vector(np.zeros(3), "abc", **given)
        config = FitConfig(finish="none", steps=steps)
        return fit(
            LossObjective(quadratic), parameters, fits.ADAM, config=config, checkpoints=tmp_path
        )

    start(3)
    with pytest.raises(InputError, match=line):
        start(5, **given)
