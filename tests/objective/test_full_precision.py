"""Products of matrices in a user's model and terms have full precision, also on GPUs."""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Jaxpr, subjaxprs

from kdescent_dist.numerics.full_precision import MATMUL_PRECISION, full_precision
from kdescent_dist.numerics.prng import as_key
from support import problems

TURN = np.array([[0.8, 0.6], [-0.6, 0.8]], np.float32)


def turned(params, key, catalog):
    """The toy model, whose colors come out of products of matrices."""
    population = problems.toy(params, key, catalog)
    colors = jnp.stack([population.x["red"], population.x["blue"]])
    red, blue = compiled_turn(params["slope"] * jnp.asarray(TURN), colors)
    return replace(population, x={**population.x, "red": red, "blue": blue})


@jax.jit  # as users write it
def compiled_turn(turn, colors):
    return jnp.asarray(TURN).T @ (turn @ colors)


def extra_sums(population):
    return {"square": population.weights @ jnp.stack([population.x["red"] ** 2] * 2, axis=1)}


def custom(sums, truth, params):
    own = sums.extra_sums["square"] / sums.weight
    return own @ jnp.asarray(TURN) @ own


def products(jaxpr: Jaxpr) -> Iterator[object]:
    """The precision of each product of matrices in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
    for inner in subjaxprs(jaxpr):
        yield from products(inner)


def of_a_step(few_points):
    objective = problems.objective(few_points, custom=custom, extra_sums=extra_sums)
    objective.model = replace(objective.model, model=turned)

    def step(params):
        return objective.value_and_grad(params, as_key(0), objective.data)

    return list(products(jax.make_jaxpr(step)(jnp.asarray(problems.TRUTH)).jaxpr))


def test_products_of_a_step_and_of_its_gradient_have_full_precision(few_points):
    found = of_a_step(few_points)
    assert len(found) >= 8  # two in the model, one and two in the terms, and their derivatives
    highest = (jax.lax.Precision.HIGHEST,) * 2
    assert set(found) == {highest}


def test_the_precision_that_a_user_has_chosen_stays(few_points):
    with jax.default_matmul_precision("tensorfloat32"):
        found = of_a_step(few_points)
    assert (jax.lax.Precision.HIGH,) * 2 in found


def chosen():
    return getattr(jax.config, MATMUL_PRECISION)


def test_it_ends_with_the_function():
    before = chosen()

    @full_precision()
    def fails(a):
        """A function."""
        assert chosen() == "highest"
        return 1 / a

    assert fails(2) == 0.5
    assert fails.__doc__ == "A function."
    with pytest.raises(ZeroDivisionError):
        fails(a=0)
    assert chosen() == before
