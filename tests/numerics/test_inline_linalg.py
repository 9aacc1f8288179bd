"""Small matrices against NumPy in float64, and a loss against the same loss as JAX runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.numerics.inline_linalg import written_out
from kdescent_dist.numerics.small_matrices import cholesky, column_sums, repeated, table_product
from kdescent_dist.objective.evaluate import evaluate
from kdescent_dist.objective.loss_function import LossObjective
from support import losses

pytestmark = pytest.mark.as_shipped

KEY = jax.random.key(3)
SIZES = [1, 64, 999, 5_000]


def covariances(n, d):
    tall = np.random.default_rng(d).normal(size=(n, d + 2, d))
    return np.swapaxes(tall, 1, 2) @ tall + 0.1 * np.eye(d)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_the_factor_and_its_gradient_are_those_of_lapack(d):
    a = covariances(50, d)
    factors = cholesky(jnp.asarray(a, jnp.float32))
    np.testing.assert_allclose(factors, np.linalg.cholesky(a), rtol=2e-6, atol=2e-6)
    outer = np.random.default_rng(1).normal(size=(50, d, d))
    direction = covariances(50, d) - np.eye(d)
    with jax.enable_x64(True):
        gradient = jax.grad(lambda a: jnp.vdot(cholesky(a), outer))(jnp.asarray(a))
    step = 1e-6
    ahead, behind = (np.linalg.cholesky(a + s * direction) for s in (step, -step))
    expected = np.vdot(ahead - behind, outer) / (2 * step)
    np.testing.assert_allclose(np.vdot(gradient, direction), expected, rtol=1e-6)


def test_a_matrix_without_a_factor_gives_nan_everywhere_and_leaves_the_others_alone():
    a = np.stack([np.eye(3), np.diag([1.0, -1.0, 1.0]), np.ones((3, 3))])
    assert np.isnan(cholesky(jnp.asarray(a))).all(axis=(1, 2)).tolist() == [False, True, True]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("d", "e"), [(1, 1), (2, 2), (3, 2), (2, 4)])
def test_products_and_sums_of_tables_and_their_gradients(n, d, e):
    rng = np.random.default_rng(n)
    table, matrix, outer = rng.normal(size=(n, d)), rng.normal(size=(d, e)), rng.normal(size=(n, e))
    row = rng.normal(size=e)

    def loss(table, matrix, row):
        found = table_product(table, matrix) + repeated(n, row)
        return jnp.vdot(found, outer), (found, column_sums(table))

    (_, (found, sums)), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(
        *(jnp.asarray(a, jnp.float32) for a in (table, matrix, row))
    )
    expected = [outer @ matrix.T, table.T @ outer, outer.sum(axis=0)]
    tolerance = {"rtol": 1e-5, "atol": 1e-6 * n}
    np.testing.assert_allclose(found, table @ matrix + row, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sums, table.sum(axis=0), **tolerance)
    for gradient, truth in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, truth, **tolerance)


@pytest.mark.slow
def test_a_loss_keeps_its_value_and_gradient():
    params = jnp.array([0.2, -0.4, 0.7])
    ours = jax.value_and_grad(lambda p: written_out(losses.correlated)(p, randkey=KEY, extra=2.0))
    theirs = jax.value_and_grad(lambda p: losses.correlated(p, KEY, extra=2.0))
    (value, gradient), (expected, truth) = jax.jit(ours)(params), jax.jit(theirs)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, truth, rtol=2e-4)


@pytest.mark.parametrize("with_key", [True, False])
def test_any_loss_is_evaluated(with_key):
    def loss(params, randkey=None, power=2):
        noise = 0.0 if randkey is None else jax.random.normal(randkey, ())
        return jnp.sum((params - noise) ** power)

    objective = LossObjective(loss, {"power": 4}, with_key=with_key)
    params = jnp.array([1.0, 2.0])
    value, grad = jax.jit(lambda p, k: evaluate(objective, p, k, {}, True))(params, KEY)
    noise = float(jax.random.normal(KEY, ())) if with_key else 0.0
    np.testing.assert_allclose(value, np.sum((np.asarray(params) - noise) ** 4), rtol=1e-5)
    np.testing.assert_allclose(grad, 4 * (np.asarray(params) - noise) ** 3, rtol=1e-5)
