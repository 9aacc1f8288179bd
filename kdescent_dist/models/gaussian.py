"""A two-dimensional normal distribution with five parameters: kdescent's first tutorial."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kdescent_dist import Population

NAMES = ("mean_1", "mean_2", "variance_1", "variance_2", "correlation")


def gaussian(params: Mapping[str, jax.Array], key: jax.Array, catalog: int) -> Population:
    """Draw ``catalog`` samples ``x1`` and ``x2``; only the absolute values of variances matter."""
    variance_1, variance_2 = jnp.abs(params["variance_1"]), jnp.abs(params["variance_2"])
    covariance = params["correlation"] * jnp.sqrt(variance_1 * variance_2)
    mean = jnp.stack([params["mean_1"], params["mean_2"]])
    cov = jnp.stack([jnp.stack([variance_1, covariance]), jnp.stack([covariance, variance_2])])
    x = jax.random.multivariate_normal(key, mean, cov, shape=(catalog,))
    return Population({"x1": x[:, 0], "x2": x[:, 1]})


def training_catalog(truth: Mapping[str, float], size: int, seed: int) -> dict[str, jax.Array]:
    """Draw a training catalog of ``size`` samples at the true parameters."""
    params = {name: jnp.asarray(float(value)) for name, value in truth.items()}
    return dict(gaussian(params, jax.random.key(seed), size).x)
