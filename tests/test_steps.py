"""What the steps of a fit are compiled with."""

import jax
import jax.numpy as jnp
import numpy as np
import problems

from kdescent_dist.objective import LossObjective
from kdescent_dist.steps import compiler_options

PARAMS, KEY = jnp.zeros(3), jax.random.key(0)
PRODUCTS = "xla_cpu_experimental_ynn_fusion_type"
MATRICES = np.ones((50, 3, 3), np.float32)


def options(loss):
    return compiler_options(LossObjective(loss), PARAMS, KEY, on_cpu=True) or {}


def test_products_are_plain_loops_unless_each_sample_has_its_own_matrix():
    @jax.jit
    def batched(params, randkey):
        return jnp.sum(jnp.einsum("nij,j->ni", MATRICES, params) @ params)

    def per_sample(params, randkey):
        moved = jax.vmap(lambda matrix: matrix @ params)(MATRICES + params[0])
        return jnp.sum(jax.vmap(jnp.dot)(moved, moved))

    def plain(params, randkey):
        return jnp.sum((MATRICES[0] @ params) ** 2)

    assert PRODUCTS in options(plain)
    assert PRODUCTS in options(batched)  # one matrix of all rows
    assert PRODUCTS not in options(per_sample)


def test_a_loss_that_cannot_be_traced_is_left_to_fail_in_the_fit():
    def fails(params, randkey):
        raise ValueError("the user's own")

    assert PRODUCTS not in options(fails)


def test_other_platforms_and_populations_keep_their_products():
    objective = problems.objective(problems.pretrained({"one": problems.GRIDS["one"]}))
    params = jnp.asarray(problems.GUESS)
    assert PRODUCTS not in (compiler_options(objective, params, KEY, on_cpu=True) or {})
    assert compiler_options(objective, params, KEY, on_cpu=False) is None
