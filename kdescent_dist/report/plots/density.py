"""Weighted percentiles, limits of axes, and smoothed weighted histograms with their contours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Weighted = tuple[np.ndarray, np.ndarray]  # (n,) values and (n,) weights

ENCLOSED = (0.95, 0.68, 0.30)  # fractions of the weight within the contours, from the outermost
CORE = 0.3  # fraction of the weight whose narrowest interval sets the smoothing


def percentiles(x: np.ndarray, weights: np.ndarray, q: Sequence[float]) -> np.ndarray:
    """Weighted percentiles (len(q),) of (n,) values, NaN without weight."""
    order = np.argsort(x)
    cumulative = np.cumsum(weights[order])
    if not cumulative.size or not cumulative[-1] > 0:
        return np.full(len(q), np.nan)
    middle = (cumulative - 0.5 * weights[order]) / cumulative[-1]
    return np.interp(np.asarray(q) / 100.0, middle, x[order])


def robust_limits(
    data: Sequence[Weighted], fit: Sequence[Weighted], guess: Sequence[Weighted]
) -> tuple[float, float]:
    """Limits of an axis that show the data, and fit and guess within half a span of the data.

    Args:
        data, fit, guess: (n,) values and (n,) weights in each bin.
    """
    low, high = _range(data, (0.5, 99.5))
    if not np.isfinite(low):
        low, high = _range(fit, (0.5, 99.5))
    if not np.isfinite(low):
        return 0.0, 1.0
    span = max(high - low, 1e-6 * max(abs(low), abs(high), 1e-30))
    farthest = (low - 0.5 * span, high + 0.5 * span)
    for samples, q in ((fit, (0.5, 99.5)), (guess, (10, 90))):
        further = _range(samples, q)
        if np.isfinite(further).all():
            low = min(low, max(further[0], farthest[0]))
            high = max(high, min(further[1], farthest[1]))
    margin = 0.07 * max(high - low, span)
    return float(low - margin), float(high + margin)


def _range(samples: Sequence[Weighted], q: Sequence[float]) -> tuple[float, float]:
    table = np.array([percentiles(x, weights, q) for x, weights in samples]).reshape(-1, len(q))
    known = table[np.isfinite(table).all(axis=1)]
    if not known.size:
        return float("nan"), float("nan")
    return float(known[:, 0].min()), float(known[:, 1].max())


def effective_number(weights: np.ndarray) -> float:
    """Kish's effective number of samples, (sum w)^2 / sum w^2."""
    square = float(np.sum(weights**2))
    return float(np.sum(weights)) ** 2 / square if square > 0 else 0.0


def core_width(x: np.ndarray, weights: np.ndarray) -> float:
    """Standard deviation of a normal distribution with the core width of (n,) values.

    The core is the narrowest interval with a fraction ``CORE`` of the weight. With several
    populations, the core is in the densest population.
    """
    from scipy.special import ndtri

    order = np.argsort(x)
    x, cumulative = x[order], np.cumsum(weights[order])
    cumulative = cumulative / cumulative[-1]
    starts = cumulative <= 1.0 - CORE
    if not starts.any():
        return float(x[-1] - x[0])
    widths = np.interp(cumulative[starts] + CORE, cumulative, x) - x[starts]
    return float(widths.min() / (2.0 * ndtri(0.5 + 0.5 * CORE)))


@dataclass(frozen=True)
class Raster:
    """A grid of cells and a smoothing, which all populations of a panel share.

    Attributes:
        edges: edges of the cells along x and y.
        sigma: width of the Gaussian smoothing along x and y, in cells.
    """

    edges: tuple[np.ndarray, np.ndarray]
    sigma: tuple[float, float]

    @classmethod
    def around(
        cls,
        x: np.ndarray,
        weights: np.ndarray,
        number: float,
        limits: Sequence[tuple[float, float]],
    ) -> "Raster":
        """Choose the smoothing by Scott's rule, with the width of the core of the samples.

        Args:
            x: (n, 2) samples.
            weights: (n,) weights of the samples.
            number: effective number of samples.
            limits: (low, high) of both axes; the grid extends beyond the limits, so that the edge
                of the panel does not distort the contours.
        """
        edges, sigma = [], []
        scott = max(number, 1.0) ** (-1.0 / 6.0)
        for i, (low, high) in enumerate(limits):
            beyond = 0.15 * (high - low)
            edges.append(np.linspace(low - beyond, high + beyond, 121))
            width = scott * core_width(x[:, i], weights) / (edges[-1][1] - edges[-1][0])
            sigma.append(float(np.clip(width, 1.2, 8.0)))
        return cls((edges[0], edges[1]), (sigma[0], sigma[1]))

    def density(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Smoothed weight (cells, cells) of (n, 2) samples, in fractions of the total weight."""
        from scipy.ndimage import gaussian_filter

        total = float(np.sum(weights))
        counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], bins=self.edges, weights=weights)
        return gaussian_filter(counts, self.sigma, mode="constant") / total

    @property
    def centers(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = (0.5 * (e[1:] + e[:-1]) for e in self.edges)
        return x, y


def enclosed_levels(density: np.ndarray) -> list[float]:
    """Densities above which the fractions ``ENCLOSED`` of the total weight lie, increasing.

    A level is left out if the grid has less than this fraction of the total weight.
    """
    cells = np.sort(density, axis=None)[::-1]
    cumulative = np.cumsum(cells)
    levels = []
    for fraction in ENCLOSED:
        index = int(np.searchsorted(cumulative, fraction))
        if index < cells.size and cells[index] > 0:
            levels.append(float(cells[index]))
    return sorted(set(levels))
