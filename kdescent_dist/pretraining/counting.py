"""Training counts and their errors; chooses the faster method for the size of the problem."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.mesh import platform_of
from kdescent_dist.pretraining import direct as direct_counts
from kdescent_dist.pretraining import nufft
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.sample import WeightedRows
from kdescent_dist.pretraining.validate import cholesky_factor

log = logging.getLogger(__name__)

METHODS = ("auto", "direct", "finufft")

# Nanoseconds per pair of a sample and a kernel or mode, in direct sums on one core.
_KERNEL_PAIR, _WAVE_PAIR = 0.45, 0.9
_GAIN = 1.5  # least estimated speedup for which ``"auto"`` chooses the transforms

# Errors of transforms are below 1e-12 of the sum of all weights. Sums below 1e-6 of the sum of all
# weights are computed again by direct sums, so that all relative errors are below 1e-6.
_TRUSTED = 1e-6
_FEW = 50  # at most 1 in 50 sums is computed again; beyond, direct sums for all are faster


def check_method(method: str, columns: Mapping[str, int]) -> None:
    """Check that a method of pretraining is available.

    Args:
        method: ``counts.pretrain``.
        columns: the number of compared columns of each bin, or grid of bins.

    Raises:
        InputError: names the key and an alternative.
    """
    if method != "finufft":
        return
    if not nufft.installed():
        raise InputError(
            "counts.pretrain=finufft: finufft is not installed: pip install "
            "'kdescent-dist[finufft]', or use counts.pretrain=auto"
        )
    for name, number in columns.items():
        if number > nufft.LARGEST_DIMS:
            raise InputError(
                f"counts.pretrain=finufft: bins.{name} compares {number} columns, and "
                f"up to {nufft.LARGEST_DIMS} can be transformed: use counts.pretrain=auto"
            )


def count_kernels(
    rows: WeightedRows, centers: np.ndarray, cov: np.ndarray, options: Counting
) -> tuple[np.ndarray, np.ndarray]:
    """Count samples in Gaussian kernels: ``sum_n w_n N(x_n; center_k, cov)``.

    Args:
        rows: samples of d dimensions, and their weights.
        centers: (K, d) kernel centers.
        cov: (d, d) covariance of the kernels.
        options: method and devices.

    Returns:
        (K,) counts, in samples per unit volume, and (K,) errors, the square roots of the sums of
        squares. An error is 0 if all samples are so distant that the kernel underflows.

    Raises:
        InputError: the columns of the samples are linearly dependent, or the method is not
            available.
    """
    factor = cholesky_factor(cov.astype(float))
    origin = np.median(centers, axis=0).astype(float)
    white = _whitened(centers, origin, factor)

    def of_block(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        z = _whitened(x, origin, factor)
        plan = _plan(nufft.KernelTransform, z, white, _KERNEL_PAIR, x.dtype, options)
        sums = None if plan is None else _of_first_rank(lambda: _kernel_sums(plan, w), options.comm)
        return direct_counts.kernel_sums(z, w, white, options) if sums is None else sums

    unit, sums = _of_all_blocks(of_block, rows, (2, len(centers)))
    norm = unit / np.prod(math.sqrt(2.0 * math.pi) * np.diagonal(factor))
    return (norm * sums[0]).astype(rows.dtype), (norm * np.sqrt(sums[1])).astype(rows.dtype)


def count_modes(
    rows: WeightedRows, modes: np.ndarray, options: Counting
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate the weighted empirical characteristic function: ``sum_n w_n exp(i k . x_n)``.

    Args:
        rows: samples of d dimensions, and their weights.
        modes: (K, d) wave vectors, in radians per unit of the samples.
        options: method and devices.

    Returns:
        (K,) complex counts and (K,) errors: ``sqrt(sum_n w_n^2 cos^2(k . x_n))`` plus i times the
        same expression with the sine.

    Raises:
        InputError: the method is not available.
    """
    dtype = np.result_type(rows.dtype, np.complex64)
    if not len(modes):
        return np.zeros(0, dtype), np.zeros(0, dtype)
    # Phases are relative to an origin among the samples: far from the origin, a phase is many
    # turns. The phase of the origin is added later, in double precision.
    origin = rows.middle()
    k = np.ascontiguousarray(modes.T, float)
    phase = origin @ k

    def of_block(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        y = np.ascontiguousarray((x - origin).T)
        plan = _plan(nufft.WaveTransform, y, k, _WAVE_PAIR, x.dtype, options)
        sums = (
            None
            if plan is None
            else _of_first_rank(lambda: _wave_sums(plan, w, phase), options.comm)
        )
        return direct_counts.wave_sums(y, w, k, options) if sums is None else sums

    unit, sums = _of_all_blocks(of_block, rows, (5, len(modes)))
    counts = unit * (sums[0] + 1j * sums[1]) * np.exp(1j * phase)
    cos, sin = unit * np.sqrt(_turned_squares(sums, phase))
    return counts.astype(dtype), (cos + 1j * sin).astype(dtype)


def _of_all_blocks(
    of_block: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rows: WeightedRows,
    shape: tuple[int, int],
) -> tuple[float, np.ndarray]:
    """A unit for the weights, and the sums over all blocks in this unit.

    In this unit, weights are at most 1, and their squares do not underflow.
    """
    unit, parts = rows.unit(), []
    for x, weights in rows.blocks:
        if not len(x):
            continue
        ones = weights is None
        w = np.ones(len(x), x.dtype) if ones else (weights / unit).astype(x.dtype)
        parts.append(of_block(x, w))
    return unit, rows.added(parts, shape)


def _whitened(x: np.ndarray, origin: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return (d, n) coordinates in which kernels of covariance ``L L^T`` have unit covariance."""
    z = np.empty(x.shape[::-1])
    for i, row in enumerate(factor):
        # Forward substitution by column; a BLAS library would start threads.
        z[i] = x[:, i] - origin[i]
        for j in range(i):
            z[i] -= row[j] * z[j]
        z[i] /= row[i]
    return z


def _plan(transform: type, x, kernels, pair: float, dtype: np.dtype, options: Counting) -> Any:
    """Return a plan of transforms, or None for direct sums."""
    if options.method == "direct":
        return None
    wanted = options.method == "finufft"
    # Only the first rank transforms, and all ranks must take the same branch.
    if not _of_first_rank(nufft.installed, options.comm):
        if wanted:
            raise InputError(
                "method='finufft': finufft is not installed: pip install 'kdescent-dist[finufft]', "
                "or use method='auto'"
            )
        return None
    dims = len(x)
    if dims > nufft.LARGEST_DIMS:
        if wanted:
            raise InputError(
                f"method='finufft': training_x has {dims} columns, and only up to "
                f"{nufft.LARGEST_DIMS} can be transformed: use method='auto'"
            )
        return None
    plan = transform(x, kernels)
    if wanted:
        if not plan.affordable:
            raise InputError(
                "method='finufft': training_x spans so many kernel widths or waves that the grid "
                f"would have {plan.grid:.1g} cells: use method='auto', or leave out outliers"
            )
        return plan
    # Both estimates are for one core: the choice must not depend on the number of devices.
    gain = pair * x.shape[1] * kernels.shape[1] / plan.cost
    precise = dtype == np.float32 and platform_of(options.mesh) == "cpu"
    return plan if precise and plan.affordable and gain > _GAIN else None


def _of_first_rank(work: Callable[[], Any], comm: Any) -> Any:
    """Let the first rank work for all ranks: ranks could differ in the last bits."""
    if comm is None:
        return work()
    return comm.bcast(work() if comm.rank == 0 else None, root=0)


def _kernel_sums(plan: nufft.KernelTransform, w: np.ndarray) -> np.ndarray | None:
    sums = plan.sums(w)
    total = np.sum([w, w * w], axis=1, dtype=float)
    poor = np.any(sums < _TRUSTED * total[:, None], axis=0)
    return _mended(sums, poor, direct_counts.few_kernel_sums, plan, w)


def _wave_sums(plan: nufft.WaveTransform, w: np.ndarray, phase: np.ndarray) -> np.ndarray | None:
    sums = plan.sums(w)
    total = np.sum(w * w, dtype=float)
    poor = np.any(_turned_squares(sums, phase) < _TRUSTED * total, axis=0)
    return _mended(sums, poor, direct_counts.few_wave_sums, plan, w)


def _mended(sums: np.ndarray, poor: np.ndarray, few_sums: Any, plan: Any, w) -> np.ndarray | None:
    """Replace sums that are too small for a transform; None if there are too many."""
    number = np.count_nonzero(poor)
    if number > max(len(poor) // _FEW, 1):
        log.info(
            "%d of %d training counts are too small for fast transforms: all are summed pair by "
            "pair",
            number,
            len(poor),
        )
        return None
    if number:
        sums[:, poor] = few_sums(plan.samples, w, plan.kernels[:, poor])
    return sums


def _turned_squares(sums: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return (2, K) sums of squared cosines and sines after a phase shift (K,)."""
    cos, sin, mixed = sums[2:]
    c, s = np.cos(phase), np.sin(phase)
    turned = [
        cos * c * c + sin * s * s - 2.0 * mixed * c * s,
        cos * s * s + sin * c * c + 2.0 * mixed * c * s,
    ]
    return np.maximum(turned, 0.0)
