"""A loss of correlated samples, for the tests of small matrices."""

import jax
import jax.numpy as jnp

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
