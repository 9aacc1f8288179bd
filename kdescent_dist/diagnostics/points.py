"""The points at which populations and catalogs are counted to be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.bins.pretrained import PretrainedBin

# Kernels and modes of a bin at which residuals are computed.
LARGEST_SET = 600


def subsample(rng: np.random.Generator, size: int, most: int) -> tuple[np.ndarray, float]:
    """At most ``most`` of ``size`` indices, and the number of indices that each stands for."""
    if size <= most:
        return np.arange(size), 1.0
    return np.sort(rng.choice(size, most, replace=False)), size / most


@dataclass(frozen=True)
class CountedSet:
    """The kernels and modes at which a bin is compared, by their indices in its training counts.

    Attributes:
        window: edges (c,) of the window, low and high, and its softness (c,).
        centers, cov, modes: (p, d), (d, d) and (q, d).
    """

    pretrained: PretrainedBin
    kernel_indices: np.ndarray
    mode_indices: np.ndarray
    window: tuple[np.ndarray, np.ndarray, np.ndarray]
    centers: np.ndarray
    cov: np.ndarray
    modes: np.ndarray

    @classmethod
    def of(
        cls, pretrained: PretrainedBin, rng: np.random.Generator, largest: int | None = None
    ) -> "CountedSet":
        bin_, counts = pretrained.bin, pretrained.counts
        sizes = (len(counts.kde_counts), len(counts.fourier_counts))
        drawn = (bin_.config.kernels, bin_.config.fourier)
        kernels, modes = (
            subsample(rng, 0 if number == 0 else size, largest or LARGEST_SET)[0]
            for number, size in zip(drawn, sizes, strict=True)
        )
        edges = np.reshape(list(bin_.window.values()), (-1, 2))
        return cls(
            pretrained,
            kernels,
            modes,
            (edges[:, 0], edges[:, 1], np.array(bin_.softness)),
            np.asarray(counts.kernel_centers)[kernels],
            np.atleast_2d(np.asarray(counts.kernelcov)),
            np.asarray(counts.fourier_positions)[modes],
        )

    @property
    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where samples are counted: kernel centers, their covariance, and wave vectors."""
        return self.centers, self.cov, self.modes

    def columns_of(self, columns: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Of the columns of samples, those that are compared, and the conditional ones."""
        bin_ = self.pretrained.bin
        x, conditions = (tuple(columns[n] for n in names) for names in (bin_.columns, bin_.window))
        return x, conditions
