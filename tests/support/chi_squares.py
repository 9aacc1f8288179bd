"""Reduced chi-squares at the truth, of independent pairs of model and data."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.objective.residuals import (
    errors_of_difference,
    model_errors,
    normalized,
    norms,
)
from support.table_sums import table_sums

DATA, MODEL = 500, 1000  # expected rows
AT_ONCE = 200  # draws
POINTS = 8
LOW, HIGH = 0.3, 0.9  # window of the bin


def points(dims):
    """Kernels of Scott's width within 1.5 standard deviations, and modes of a half-space."""
    rng = np.random.default_rng(dims)
    modes = rng.uniform(-1.5, 1.5, size=(POINTS, dims))
    modes[:, 0] = rng.uniform(0.2, 1.5, size=POINTS)
    return np.clip(rng.normal(size=(POINTS, dims)), -1.5, 1.5), modes


def rows(rng, dims, weighted, softness, number):
    """Samples (draws, n, d), weights, and weights with the window; a Poisson number of rows."""
    shape = (AT_ONCE, number + 8 * int(number**0.5))
    x = rng.normal(size=(*shape, dims))
    condition = 0.5 + 0.3 * rng.normal(size=shape) + 0.1 * x[..., 0]
    weights = np.exp(0.5 * x[..., 0] - 0.5 * condition) if weighted else np.ones(shape)
    # Another number of rows stands for the same catalog.
    weights *= (np.arange(shape[1]) < rng.poisson(number, (AT_ONCE, 1))) * (DATA / number)
    if softness == 0:
        window = (condition >= LOW) & (condition < HIGH)
    else:
        width = softness * (HIGH - LOW)
        window = jax.nn.sigmoid((condition - LOW) / width)
        window *= jax.nn.sigmoid((HIGH - condition) / width)
    return x.astype(np.float32), *(np.asarray(w, np.float32) for w in (weights, weights * window))


@partial(jax.jit, static_argnums=0)
def compared(kind, x, weights, inside, centers, modes):
    """The compared numbers of one bin for each draw, and their errors."""
    kernels = jnp.exp(-2 * jnp.sum((x[:, :, None] - centers) ** 2, axis=-1))[..., None]
    phases = x @ modes.T
    tables = {"kde": kernels, "fourier": jnp.stack([jnp.cos(phases), jnp.sin(phases)], axis=-1)}
    sums, squares = table_sums(kind, tables, weights, inside)
    factors = norms((kind,), sums.weight, weights.sum(axis=1))
    return normalized(sums, factors, 1.0), model_errors(sums, squares, factors, 1.0)


def chi_squares(kind, dims, weighted, softness, draws):
    """The reduced chi-squares (draws,) of each statistic.

    Args:
        kind: normalization of the counts.
        dims: number of compared columns.
        weighted: whether rows have weights.
        softness: softness of the window.
        draws: number of draws of a catalog and of a model.
    """
    rng, found = np.random.default_rng(11), []
    for _ in range(draws // AT_ONCE):
        of_data, of_model = (
            compared(kind, *rows(rng, dims, weighted, softness, number), *points(dims))
            for number in (DATA, MODEL)
        )
        errors = errors_of_difference(of_data[1], of_model[1])
        residuals = jax.tree.map(lambda m, d, e: (m - d) / e, of_model[0], of_data[0], errors)
        found.append({n: np.mean(r**2, axis=(1, 2)) for n, r in residuals.counts.items()})
    return {name: np.concatenate([f[name] for f in found]) for name in found[0]}
