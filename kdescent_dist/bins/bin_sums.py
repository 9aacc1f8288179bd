"""Arguments and results of sums over the samples in many bins."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.counts.statistic import Points


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BinSums:
    """Sums over the samples in m bins.

    Attributes:
        weight: (m,) sums of weights.
        counts: names of statistics to (m, points, parts) counts.
    """

    weight: Any
    counts: dict[str, Any]

    @property
    def kde(self) -> Any:
        """(m, kernels) kernel counts, (m, 0) if the bins compare none."""
        return self._of("kde")[..., 0]

    @property
    def fourier(self) -> Any:
        """(m, modes) complex Fourier counts, (m, 0) if the bins compare none."""
        parts = self._of("fourier")
        return lax.complex(parts[..., 0], parts[..., 1])

    def _of(self, name: str) -> Any:
        weight = jnp.asarray(self.weight)
        return self.counts.get(name, jnp.zeros((*weight.shape, 0, 2), weight.dtype))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BinSquares:
    """Sums of squares and products over the samples in m bins, for the errors of the counts.

    Attributes:
        weight: (m,) sums of squared weights in the bins.
        norm: (m,) sums of the squared contributions of samples to the norm of the counts: the
            weight in the bin (``conditional``), the weight of all samples (``density``), or
            nothing (``counts``).
        counts: names of statistics to (m, points, parts) sums of squared contributions to the
            counts.
        cross: names of statistics to (m, points, parts) sums of the products of the contributions
            to count and norm; empty if no count is normalized.
    """

    weight: Any
    norm: Any
    counts: dict[str, Any]
    cross: dict[str, Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BinArrays:
    """Windows and points of m bins with c conditional columns.

    Attributes:
        low, high: (m, c) edges of the windows.
        softness: (m, c) softness of the windows.
        points: names of statistics to points; arrays ``each`` are (m, k, ...), and arrays
            ``common`` are (m, ...).
    """

    low: Any
    high: Any
    softness: Any
    points: dict[str, Points]
