"""Which results of a function depend on which of its arguments."""

import jax
import jax.numpy as jnp
import pytest

from kdescent_dist.numerics.dataflow import depends_on

pytestmark = pytest.mark.as_shipped

ARRAY = jax.ShapeDtypeStruct((4,), jnp.float32)


def test_a_result_depends_on_what_it_was_computed_from():
    def function(params, columns):
        both = jnp.concatenate([columns["z"], columns["z"]])
        return {"z": both, "sum": columns["z"] + params[0], "weight": params * 2.0, "one": 1.0}

    found = depends_on(function, (ARRAY, {"z": ARRAY}), (0,))
    assert found == {"z": False, "sum": True, "weight": True, "one": False}


def test_compiled_functions_are_looked_into():
    @jax.jit
    def inner(a, b):
        return a + 1.0, a * b

    assert depends_on(lambda p, z: inner(z, p), (ARRAY, ARRAY), (0,)) == (False, True)


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1), ()])
def test_an_argument_that_is_handed_on_is_recognized(which):
    assert depends_on(lambda p, z: (z, p), (ARRAY, ARRAY), which) == (1 in which, 0 in which)


def test_results_of_a_loop_depend_on_all_that_enters_it():
    def function(params, z):
        return jax.lax.fori_loop(
            0, 3, lambda i, state: (state[0] * 2.0, state[1] + 1.0), (params, z)
        )

    assert depends_on(function, (ARRAY, ARRAY), (0,)) == (True, True)
