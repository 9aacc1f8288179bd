"""Where training counts are taken: kernel centers drawn from the training density, and modes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.numerics import threefry
from kdescent_dist.numerics.xla_order import prefix_sums, total
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.counting import count_kernels
from kdescent_dist.pretraining.sample import TrainingSample
from kdescent_dist.pretraining.validate import cholesky_factor


def draw_centers(key: np.ndarray, rows: TrainingSample, number: int) -> np.ndarray:
    """Draw kernel centers (number, d) from a kernel density estimate of the training samples.

    Raises:
        InputError: the columns of the samples are linearly dependent.
    """
    return _resample(key, _Density.of(rows), number)


def draw_rare_centers(
    draw_key: np.ndarray,
    choice_key: np.ndarray,
    rows: TrainingSample,
    number: int,
    power: float,
    draws: int,
    options: Counting,
) -> np.ndarray:
    """Draw kernel centers (number, d) with a density of ``p^(1 - power)``, where p is as above.

    Sampling importance resampling: of ``draws`` centers drawn from p, ``number`` are chosen
    without replacement with weights ``p^-power``. The density they follow is reached as ``draws``
    grows beyond ``number``.

    Args:
        draw_key: key of the draws from p.
        choice_key: key of the choice among them.
        rows: training samples and weights.
        number: centers to return, all different draws.
        power: power of the inverse density.
        draws: draws to choose from.
        options: how p is evaluated.

    Raises:
        InputError: fewer draws than centers, or columns of the samples that are linearly dependent.
    """
    if draws < number:
        raise InputError(
            f"num_idw_draws={draws}: must be at least num_pretrain_kernels={number}, better 100 "
            f"times as many"
        )
    density = _Density.of(rows)
    candidates = _resample(draw_key, density, draws)
    value, _ = count_kernels(rows, candidates, density.covariance, options)
    tiny = np.finfo(value.dtype).tiny
    rarity = -power * np.log(np.maximum(value, tiny))
    # The largest of log-weights plus Gumbel noise are a sample without replacement.
    unit = np.maximum(threefry.uniform(choice_key, (draws,), value.dtype), tiny)
    scores = rarity - np.log(-np.log(unit))
    # Last bits, which may differ between processors, decide.
    return rows.processes.on_primary(lambda: candidates[np.argsort(-scores)[:number]])


def draw_modes(key: np.ndarray, k_max: np.ndarray, number: int, half_space: bool) -> np.ndarray:
    """Draw Fourier modes (number, d), uniform in a box.

    Args:
        key: (2,) random key.
        k_max: (d,) largest component in each dimension, in radians per unit of the samples.
        number: modes to draw.
        half_space: draw from ``[-k_max, k_max)`` and mirror the modes whose first component is
            negative; their counts are the conjugates, so that this covers every independent
            mode. Else draw from the positive orthant ``[0, k_max)`` only.
    """
    unit = threefry.uniform(key, (number, len(k_max)), k_max.dtype)
    if not half_space:
        return unit * k_max
    modes = (2 * unit - 1) * k_max
    first = np.take_along_axis(modes, np.argmax(modes != 0, axis=1)[:, None], axis=1)
    return np.where(first < 0, -modes, modes)


@dataclass(frozen=True)
class _Density:
    """Gaussian kernel density estimate with the bandwidth of Scott (1992).

    Attributes:
        rows: training samples.
        cumulative: of each block of this process, (n,) cumulative weights up to 1.
        covariance: (d, d) covariance of the kernels.
    """

    rows: TrainingSample
    cumulative: list[np.ndarray]
    covariance: np.ndarray

    @classmethod
    def of(cls, rows: TrainingSample) -> "_Density":
        moments = rows.moments
        effective = moments.weight**2 / moments.square
        factor = effective ** (-1.0 / (rows.dims + 4))
        covariance = (moments.covariance * factor**2).astype(rows.dtype)
        return cls(rows, [_cumulative(x, w) for x, w in rows.blocks], covariance)


def _cumulative(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    if weights is None:
        return prefix_sums(np.full(len(x), 1 / len(x), x.dtype))
    if not weights.any():
        return weights
    return prefix_sums(weights * (1 / total(weights)))  # as XLA divides by one number


def _resample(key: np.ndarray, density: _Density, number: int) -> np.ndarray:
    """Draw a training sample for each center by the inverse of the cumulative weights."""
    rows, dtype = density.rows, density.rows.dtype
    key_row, key_offset, *key_block = threefry.split(key, 2 if rows.count == 1 else 3)
    level = 1 - threefry.uniform(key_row, (number,), dtype)
    block = _draw_blocks(key_block[0], rows, number) if key_block else np.zeros(number, int)
    order = np.argsort(block, kind="stable")
    drawn = np.zeros((number, rows.dims), dtype)
    for b, ((x, _), cumulative) in enumerate(
        zip(rows.blocks, density.cumulative, strict=True), start=rows.first
    ):
        here = order[slice(*np.searchsorted(block[order], [b, b + 1]))]
        if len(here):
            drawn[here] = x[np.searchsorted(cumulative, cumulative[-1] * level[here])]
    drawn = rows.processes.merged(drawn)
    factor = cholesky_factor(density.covariance)
    least = np.nextafter(dtype.type(-1), dtype.type(0))
    unit = threefry.uniform(key_offset, (number, rows.dims), dtype, least)
    # Of one process: the last bits may differ between processors.
    return rows.processes.on_primary(lambda: drawn + np.asarray(_offsets(unit, factor)))


def _draw_blocks(key: np.ndarray, rows: TrainingSample, number: int) -> np.ndarray:
    """Draw a block for each center by the inverse of their cumulative weights."""
    weights = np.zeros(rows.count)
    for b, (x, w) in enumerate(rows.blocks, start=rows.first):
        weights[b] = len(x) if w is None else np.sum(w, dtype=float)
    cumulative = np.cumsum(rows.processes.merged(weights))
    level = 1 - threefry.uniform(key, (number,), np.dtype(np.float64))
    return np.searchsorted(cumulative, cumulative[-1] * level)


@jax.jit
def _offsets(unit: jax.Array, factor: jax.Array) -> jax.Array:
    """Turn uniform numbers (number, d) from (-1, 1) into normal ones of covariance ``F F^T``."""
    normal = np.sqrt(2).astype(unit.dtype) * jax.lax.erf_inv(unit)
    return jnp.einsum("ij,nj->ni", factor, normal)
