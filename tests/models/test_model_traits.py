"""Models that would break in silence are told before a fit: keys, gradients, rows."""

import random
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameter_tree import ParameterTree
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.models.block_model import BlockModel

SIZE = 40
GUESS = np.array([0.4, 0.3], np.float32)
CATALOG = {
    "mass": np.random.default_rng(0).uniform(size=SIZE),
    "host": np.random.default_rng(1).integers(0, SIZE, SIZE),
}


def block_model(model, tree=None, **options):
    tree = tree or ParameterTree.of_names(("mean", "fraction"))
    return BlockModel(model, tree, (), SampleBlocks.of(SIZE, SIZE), **options)


def checked(model, required=("x",), catalog=CATALOG, fixed=(), **options):
    return block_model(model, **options).check(GUESS, catalog, required, fixed)


def made(params, key, catalog, x=0.0, noise=None):
    noise = jax.random.normal(key, (SIZE,)) if noise is None else noise
    return {"x": params["mean"] + params["fraction"] * catalog["mass"] + noise + x}


def test_a_good_model_has_no_warning():
    assert checked(made) == []
    assert checked(lambda p, k, n: made(p, k, {"mass": jnp.ones(n)}), catalog={}) == []


FROZEN = {
    "numpy.random": lambda: np.random.normal(size=SIZE),  # noqa: NPY002
    "a scalar": lambda: jnp.full(SIZE, np.random.default_rng().normal()),
    "random": lambda: jnp.full(SIZE, random.random()),
}


@pytest.mark.parametrize("also_key", [True, False])
@pytest.mark.parametrize("name", FROZEN)
def test_random_numbers_that_tracing_freezes_are_refused(name, also_key):
    def model(params, key, catalog):
        return made(params, key, catalog, FROZEN[name](), None if also_key else 0.0)

    for one in (model, jax.jit(model), partial(jax.jit(model))):
        with pytest.raises(InputError, match=r"do not follow from key: .*numpy\.random"):
            checked(one)


def test_a_table_that_is_the_same_at_each_tracing_is_no_random_number():
    table = np.random.default_rng(3)

    def model(params, key, catalog):
        unused = jnp.full(SIZE, table.normal())
        del unused
        return made(params, key, catalog, np.random.default_rng(0).normal(size=SIZE))

    assert checked(model) == []


def test_random_numbers_of_a_callback_are_refused():
    shape = jax.ShapeDtypeStruct((SIZE,), np.float32)

    def model(params, key, catalog, draw):
        return made(params, key, catalog, jax.pure_callback(draw, shape))

    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="two populations of the same parameters and key differ"):
        checked(partial(model, draw=lambda: rng.normal(size=SIZE).astype(np.float32)))
    assert checked(partial(model, draw=lambda: np.ones(SIZE, np.float32))) == []


def test_a_model_without_random_numbers_is_told_unless_that_is_meant():
    model = partial(made, noise=0.0)
    (line,) = checked(model)
    assert "does not depend on key: if that is meant, set model.deterministic=true" in line
    assert checked(model, deterministic=True) == []


def drawn(params, key, catalog):
    is_red = jax.random.bernoulli(key, params["fraction"], (SIZE,))
    return {"x": params["mean"] + jnp.where(is_red, 1.0, 0.0)}


def weighted(params, key, catalog):
    x = params["mean"] + jax.random.normal(key, (SIZE,))
    fraction = jnp.full(SIZE, params["fraction"])
    return {"x": jnp.concatenate([x, x + 1.0])}, jnp.concatenate([1.0 - fraction, fraction])


@jax.custom_vjp
def straight(p, u):
    return (u < p).astype(p.dtype)


straight.defvjp(lambda p, u: (straight(p, u), None), lambda _, g: (jnp.sum(g), jnp.zeros(SIZE)))


def straight_through(params, key, catalog):
    return {"x": params["mean"] + straight(params["fraction"], jax.random.uniform(key, (SIZE,)))}


def test_a_parameter_of_a_discrete_draw_is_told():
    (line,) = checked(drawn)
    assert line.startswith("model: the population depends on fraction, but has no gradient there")
    assert checked(drawn, fixed=["fraction"]) == []


@pytest.mark.parametrize("model", [weighted, straight_through])
def test_a_parameter_with_a_gradient_is_not_told(model):
    assert checked(model) == []


def test_a_gradient_that_is_0_only_at_the_guess_is_not_told():
    def model(params, key, catalog):
        square = (params["fraction"] - GUESS[1]) ** 2
        return made({"mean": params["mean"], "fraction": square}, key, catalog)

    assert checked(model) == []


def test_a_parameter_that_is_not_used_is_left_to_the_inspection():
    assert checked(lambda p, k, c: {"x": p["mean"] + jax.random.normal(k, (SIZE,))}) == []


def test_parameters_in_a_tree_are_named_by_their_paths():
    tree = ParameterTree.of({"a": np.zeros(2), "b": {"c": 0.0}})

    def model(params, key, catalog):
        step = jnp.round(jnp.sum(params["a"]))
        return {"x": params["b"]["c"] + step + jax.random.normal(key, (SIZE,))}

    values = np.array([0.1, 0.2, 0.3], np.float32)
    (line,) = block_model(model, tree).traits(values, CATALOG)
    assert f"depends on {tree.names[0]}, {tree.names[1]}, but" in line


ROWS = {
    "a row of a given number": lambda c: c["mass"][c["host"].astype(int)],
    "the mean": lambda c: c["mass"] - jnp.mean(c["mass"]),
    "ranks": lambda c: jnp.sort(c["mass"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_look_at_other_rows_are_told(name):
    def model(params, key, catalog):
        return made(params, key, catalog) | {"y": ROWS[name](catalog)}

    (line,) = checked(model)
    assert line.startswith("model: y of a row depend on other rows of its block")
    assert checked(lambda p, k, c: made(p, k, c) | {"y": c["mass"] + jnp.arange(SIZE)}) == []


def test_random_numbers_that_rows_draw_in_one_loop_are_no_look_at_other_rows():
    number = jnp.linspace(20.0, 200.0, SIZE)

    def model(params, key, catalog):
        drawn = jax.random.binomial(key, number, 0.3 + 0.1 * catalog["mass"])
        return made(params, key, catalog) | {"n": drawn, "y": catalog["mass"][::-1]}

    (line,) = checked(model)
    assert line.startswith("model: y of a row depend")


def test_two_copies_of_rows_one_after_another_do_not_look_at_each_other():
    def model(params, key, catalog):
        return {"x": jnp.tile(made(params, key, catalog)["x"], 2)}

    assert checked(model) == []
