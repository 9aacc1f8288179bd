"""Training sums by non-uniform fast Fourier transforms (FINUFFT), in 1 to 3 dimensions.

The cost grows with samples plus kernels, not with their product. All numbers are in double
precision. The sizes of batches of samples depend on the problem alone. One thread transforms a
batch, and batches are added in a fixed order, so the sums have the same bits for any number of
threads.

A sum of Gaussian kernels is smooth. On a periodic box that is large enough for periodic images to
vanish, its Fourier series can be truncated like the Fourier transform of a kernel. One transform
maps the samples to the series, and another maps the series to the kernel centers, as in the fast
Gauss transform with non-uniform FFTs (Greengard, Jiang, Rachh & Wang 2024). Sums of plane waves are
non-uniform transforms themselves.

References: Barnett, Magland & af Klinteberg (2019), SIAM J. Sci. Comput. 41, C479.
"""

import importlib.util
import itertools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

LARGEST_DIMS = 3
# The tolerance of a transform is relative to the sum of the absolute weights. With several threads,
# the order of summation in FINUFFT would change from run to run.
_OPTIONS = {"eps": 1e-13, "nthreads": 1}
_WIDTH = 15  # grid cells per dimension over which a sample is spread, at this tolerance
_CUT = 8.3  # standard deviations beyond which a Gaussian is below 1e-15
_LARGEST_GRID = 1 << 24  # cells of 16 bytes
_ALL_GRIDS = 1 << 26  # cells of the grids of all threads
_BATCH = 1 << 15  # least number of samples per transform


def installed() -> bool:
    return importlib.util.find_spec("finufft") is not None


class KernelTransform:
    """Sums of kernels of unit covariance and height at many centers.

    Attributes:
        cost: estimated time on one core, in nanoseconds.
        grid: number of cells of the largest grid.
        affordable: whether the grid is at most ``_LARGEST_GRID``.
    """

    def __init__(self, z: np.ndarray, centers: np.ndarray) -> None:
        """Plan for (d, n) whitened samples and (d, K) whitened kernel centers."""
        self.samples, self.kernels = z, centers
        low = np.minimum(z.min(axis=1), centers.min(axis=1))
        high = np.maximum(z.max(axis=1), centers.max(axis=1))
        self.middle = 0.5 * (low + high)
        self.step = 2.0 * math.pi / (high - low + _CUT)  # step in wave number of the series
        # The square of a kernel is narrower by sqrt(2), so its transform is wider by sqrt(2).
        self.last = np.ceil(math.sqrt(2.0) * _CUT / self.step)
        self.grid = float(np.prod(2.0 * (2.0 * self.last + 1.0)))
        self.affordable = self.grid <= _LARGEST_GRID
        self.cost = _cost(len(z), z.shape[1] + 2 * centers.shape[1], 3 * self.grid)

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Return (2, K): ``sum_n w_n q_nk`` and ``sum_n w_n^2 q_nk^2``, for weights (n,)."""
        import finufft

        dims = len(self.samples)
        shape = tuple(int(2 * last + 1) for last in self.last)
        forward = getattr(finufft, f"nufft{dims}d1")
        backward = getattr(finufft, f"nufft{dims}d2")
        strengths, balance = _both_powers(weights)

        def to_series(rows: slice) -> np.ndarray:
            angles = self._angles(self.samples[:, rows])
            modes = shape if dims > 1 else shape[0]
            return forward(*angles, strengths[rows], modes, isign=-1, **_OPTIONS)

        size = max(_BATCH, 2 * self.kernels.shape[1], int(self.grid) // 16)
        series = _add_up(to_series, self.samples.shape[1], size, self.grid)
        # Gaussians of variance 1 and 1/2 have real coefficients, so the two powers of the weights
        # stay separate in the real and the imaginary part.
        both = np.stack([series, series])
        for axis, (last, step) in enumerate(zip(self.last, self.step, strict=True)):
            k = np.arange(-last, last + 1) * step
            across = (-1,) + (1,) * (dims - 1 - axis)
            for power in (0, 1):
                variance = 0.5**power
                factor = (
                    step * math.sqrt(variance / (2.0 * math.pi)) * np.exp(-0.5 * variance * k * k)
                )
                both[power] *= factor.reshape(across)

        def to_centers(rows: slice) -> np.ndarray:
            return backward(*self._angles(self.kernels[:, rows]), both, isign=1, **_OPTIONS)

        size = max(_BATCH, int(self.grid) // 16)
        first, second = np.concatenate(
            list(_in_threads(to_centers, self.kernels.shape[1], size, 2 * self.grid)), axis=1
        )
        return np.stack([first.real, second.imag / balance])

    def _angles(self, points: np.ndarray) -> np.ndarray:
        return (points - self.middle[:, None]) * self.step[:, None]


class WaveTransform:
    """Sums of plane waves at many modes, with the attributes of ``KernelTransform``."""

    def __init__(self, x: np.ndarray, modes: np.ndarray) -> None:
        """Plan for (d, n) samples around the origin and (d, K) modes."""
        self.samples, self.kernels = x, modes
        # A mode and its opposite together separate the two powers of the weights.
        self.targets = np.concatenate([modes, -modes, 2.0 * modes, -2.0 * modes], axis=1)
        extent = 0.25 * np.ptp(x, axis=1) * np.ptp(self.targets, axis=1)
        self.grid = float(np.prod(2.0 * (4.0 / math.pi * extent + _WIDTH + 1.0)))
        self.affordable = self.grid <= _LARGEST_GRID
        self.cost = _cost(len(x), x.shape[1] + self.targets.shape[1], 2 * self.grid)

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Return (5, K): sums of ``w c, w s, w^2 c^2, w^2 s^2, w^2 c s``, for weights (n,).

        The squares follow from doubled modes: ``2 c^2 = 1 + cos(2 k . x)``.
        """
        import finufft

        transform = getattr(finufft, f"nufft{len(self.samples)}d3")
        strengths, balance = _both_powers(weights)

        def to_modes(rows: slice) -> np.ndarray:
            return transform(
                *self.samples[:, rows], strengths[rows], *self.targets, isign=1, **_OPTIONS
            )

        size = max(_BATCH, 2 * self.targets.shape[1], int(self.grid) // 16)
        waves = _add_up(to_modes, self.samples.shape[1], size, self.grid).reshape(4, -1)
        first = 0.5 * (waves[0] + waves[1].conj())
        second = -0.5j / balance * (waves[2] - waves[3].conj())
        total = np.sum(weights.astype(float) ** 2)
        cos, sin = 0.5 * (total + second.real), 0.5 * (total - second.real)
        return np.stack([first.real, first.imag, cos, sin, 0.5 * second.imag])


def _cost(dims: int, points: int, cells: float) -> float:
    """Nanoseconds, from measurements: a constant, plus a time per point and a time per cell."""
    return 2e6 + points * (60.0 + 0.5 * _WIDTH**dims) + 25.0 * cells


def _both_powers(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return ``w + i b w^2``, and the b for which both parts have the same sum."""
    w = weights.astype(float)
    balance = float(np.sum(w) / np.sum(w * w))
    return w + 1j * balance * w * w, balance


def _add_up(work: Callable[[slice], np.ndarray], number: int, size: int, grid: float) -> np.ndarray:
    total: np.ndarray | None = None
    for part in _in_threads(work, number, size, grid):
        total = part if total is None else total + part
    assert total is not None
    return total


def _in_threads(
    work: Callable[[slice], np.ndarray], number: int, size: int, grid: float
) -> Iterator[np.ndarray]:
    """Yield the results for batches of about ``size`` out of ``number`` points, in order."""
    batches = max(round(number / size), 1)
    edges = [number * i // batches for i in range(batches + 1)]
    rows = [slice(a, b) for a, b in itertools.pairwise(edges)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = min(cores or 1, batches, max(int(_ALL_GRIDS / grid), 1))
    with ThreadPoolExecutor(threads) as pool:
        # At most one batch per thread at a time, to limit the memory of the results.
        for begin in range(0, batches, threads):
            yield from pool.map(work, rows[begin : begin + threads])
