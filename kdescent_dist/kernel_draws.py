"""Where training counts are taken: kernel centers drawn from the training density, and modes."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kdescent_dist.chunked_counts import chunked_counts
from kdescent_dist.counts import kde_counts
from kdescent_dist.errors import InputError
from kdescent_dist.training_data import filled_up, training_covariance


def draw_centers(
    key: jax.Array, x: np.ndarray, weights: np.ndarray | None, number: int
) -> np.ndarray:
    """Draw kernel centers (number, d) from a kernel density estimate of the training samples.

    Raises:
        InputError: the columns of ``x`` are linearly dependent.
    """
    return _resample(key, _Density.of(x, weights), number)


def draw_rare_centers(
    draw_key: jax.Array,
    choice_key: jax.Array,
    x: np.ndarray,
    weights: np.ndarray | None,
    number: int,
    power: float,
    draws: int,
    mesh: Mesh | None = None,
    comm=None,
) -> np.ndarray:
    """Draw kernel centers (number, d) with a density of ``p^(1 - power)``, where p is as above.

    Sampling importance resampling: of ``draws`` centers drawn from p, ``number`` are chosen
    without replacement with weights ``p^-power``. The density they follow is reached as ``draws``
    grows beyond ``number``.

    Args:
        draw_key: key of the draws from p.
        choice_key: key of the choice among them.
        x: (n, d) training samples.
        weights: (n,) training weights, or None.
        number: centers to return, all different draws.
        power: power of the inverse density.
        draws: draws to choose from.
        mesh: devices that share the evaluation of p.
        comm: mpi4py communicator whose ranks share it, too.

    Raises:
        InputError: fewer draws than centers, or columns of ``x`` that are linearly dependent.
    """
    if draws < number:
        raise InputError(
            f"num_idw_draws={draws}: must be at least num_pretrain_kernels={number}, better 100 "
            f"times as many"
        )
    density = _Density.of(x, weights)
    candidates = _resample(draw_key, density, draws)
    (value,) = chunked_counts(
        _counts_only, x, weights, candidates, (density.covariance,), mesh=mesh, comm=comm
    )
    # The largest of log-weights plus Gumbel noise are a sample without replacement.
    rarity = -power * np.log(np.maximum(value, np.finfo(value.dtype).tiny))
    scores = np.asarray(jax.random.gumbel(choice_key, (draws,))) + rarity
    return candidates[np.argsort(-scores)[:number]]


def draw_modes(key: jax.Array, k_max: np.ndarray, number: int, half_space: bool) -> np.ndarray:
    """Draw Fourier modes (number, d), uniform in a box.

    Args:
        key: random key.
        k_max: (d,) largest component in each dimension, in radians per unit of the samples.
        number: modes to draw.
        half_space: draw from ``[-k_max, k_max)`` and mirror the modes whose first component is
            negative; their counts are the conjugates, so that this covers every independent
            mode. Else draw from the positive orthant ``[0, k_max)`` only.
    """
    unit = np.asarray(jax.random.uniform(key, (number, len(k_max)), k_max.dtype))
    if not half_space:
        return unit * k_max
    modes = (2 * unit - 1) * k_max
    first = np.take_along_axis(modes, np.argmax(modes != 0, axis=1)[:, None], axis=1)
    return np.where(first < 0, -modes, modes)


def _counts_only(x, weights, centers, cov):
    return (kde_counts(x, weights, centers, cov),)


@dataclass(frozen=True)
class _Density:
    """Gaussian kernel density estimate with the bandwidth of Scott (1992).

    Attributes:
        x: (n, d) training samples, filled up to a size that many training samples share.
        weights: (n,) weights that add up to 1.
        size: number of training samples before.
        covariance: (d, d) covariance of the kernels.
    """

    x: np.ndarray
    weights: np.ndarray
    size: int
    covariance: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, weights: np.ndarray | None) -> "_Density":
        counted = jnp.ones(len(x), x.dtype) if weights is None else jnp.asarray(weights)
        share = np.asarray(counted / jnp.sum(counted))
        effective = 1.0 / np.sum(share.astype(float) ** 2)
        factor = effective ** (-1.0 / (x.shape[1] + 4))
        covariance = (training_covariance(x, weights) * factor**2).astype(x.dtype)
        return cls(*filled_up(x, share), len(x), covariance)


@partial(jax.jit, static_argnums=5)
def _draw(
    key: jax.Array,
    x: jax.Array,
    weights: jax.Array,
    last: jax.Array,
    covariance: jax.Array,
    number: int,
) -> jax.Array:
    """Draw a training sample for each center by the inverse of the cumulative weights."""
    key_row, key_offset = jax.random.split(key)
    cumulative = jnp.cumsum(weights)
    level = cumulative[last] * (1 - jax.random.uniform(key_row, (number,), x.dtype))
    rows = jnp.searchsorted(cumulative, level)
    origin = jnp.zeros(x.shape[1], x.dtype)
    offsets = jax.random.multivariate_normal(key_offset, origin, covariance, (number,), x.dtype)
    return x[rows] + offsets


def _resample(key: jax.Array, density: _Density, number: int) -> np.ndarray:
    last, covariance = np.int32(density.size - 1), density.covariance
    centers = np.asarray(_draw(key, density.x, density.weights, last, covariance, number))
    if not np.all(np.isfinite(centers)):
        raise InputError(
            "training_x: its columns are linearly dependent, so that their covariance cannot be "
            "inverted: leave out a column"
        )
    return centers
