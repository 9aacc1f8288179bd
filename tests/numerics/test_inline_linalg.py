"""Small matrices against NumPy in float64, and a loss against the same loss as JAX runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.numerics.inline_linalg import written_out
from kdescent_dist.numerics.prng import unrolled
from kdescent_dist.numerics.small_matrices import cholesky, column_sums, repeated, table_product
from kdescent_dist.objective.evaluate import evaluate
from kdescent_dist.objective.loss_function import LossObjective

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


MIXING = jnp.array([[1.0, 0.3], [0.1, 2.0]])


def correlated(params, randkey, **options):
    """Correlated samples by all operations that are replaced, and by some that are not."""
    spread = jnp.exp(params[:2])
    cov = jnp.diag(spread) + 0.1 * params[2] ** 2
    x = jax.random.multivariate_normal(randkey, params[:2], cov, shape=(500,))
    covs = cov + jnp.linspace(0.0, 1.0, 500)[:, None, None] * jnp.eye(2)
    y = jax.random.multivariate_normal(jax.random.fold_in(randkey, 1), x, covs)
    z = (y * spread - params[:2]) / spread @ MIXING - x @ MIXING.T + spread
    mean = z.mean(axis=0)
    moved = jax.lax.fori_loop(0, 3, lambda _, m: jnp.linalg.cholesky(cov) @ m, mean)
    return jnp.sum(moved**2) + jnp.mean(jnp.sin(z) ** 2) + options.get("extra", 0.0)


def names_of(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name, [atom.aval.shape for atom in equation.invars]
        if equation.primitive.name == "jit":
            yield from names_of(equation.params["jaxpr"].jaxpr)


def test_a_loss_keeps_its_value_and_gradient_without_a_call_for_each_matrix():
    params = jnp.array([0.2, -0.4, 0.7])
    ours = jax.value_and_grad(lambda p: written_out(correlated)(p, randkey=KEY, extra=2.0))
    theirs = jax.value_and_grad(lambda p: correlated(p, KEY, extra=2.0))
    (value, gradient), (expected, truth) = jax.jit(ours)(params), jax.jit(theirs)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, truth, rtol=2e-4)

    replaced = ("cholesky", [(500, 2, 2)])
    assert replaced in list(names_of(jax.make_jaxpr(theirs)(params).jaxpr))
    names = list(names_of(jax.make_jaxpr(ours)(params).jaxpr))
    assert replaced not in names  # a single one is left in the loop, which is not looked into
    assert ("dot_general", [(500, 2), (2, 2)]) not in names


def test_random_numbers_are_made_once():
    """Made again for each use, they would cost more than all else of a simple model."""

    def loss(params, randkey):
        x = jax.random.multivariate_normal(randkey, params, jnp.eye(2), shape=(4_000,))
        return jnp.mean((x - 1.0) ** 2)

    def logarithms(function):
        grad = jax.jit(jax.grad(lambda p, key: function(p, randkey=unrolled(key))))
        text = grad.lower(jnp.ones(2), KEY).compile().as_text()
        return sum("log-plus-one(" in line for line in text.splitlines())

    assert logarithms(written_out(loss)) == 1


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
