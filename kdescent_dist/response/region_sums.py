"""Sums over the rows of each region of a catalog, at the points of a bin.

Rows are sorted by region and added up in chunks of rows. A chunk spans few regions, whose sums are
one matrix product with the table that says which row is in which region.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.counts.statistic import Points
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.response.influence import CHUNK, Sensitivity, in_chunks, prepared_at


@dataclass(frozen=True)
class Ranked:
    """The regions of the rows of one block.

    Attributes:
        regions: (s,) ascending indices of the regions that occur in the block.
        ranks: (n,) position of each row's region among ``regions``.
    """

    regions: np.ndarray
    ranks: np.ndarray

    @classmethod
    def of(cls, of_rows: np.ndarray) -> "Ranked":
        """From the indices (n,) of the regions of all rows."""
        regions, ranks = np.unique(of_rows, return_inverse=True)
        return cls(regions, ranks.reshape(-1).astype(np.int32))

    @property
    def width(self) -> int:
        """Most regions that consecutive rows of a chunk span, once the rows are sorted."""
        ordered = np.sort(self.ranks)
        size = min(CHUNK, len(ordered))
        if not size:
            return 1
        return int(np.max(ordered[size - 1 :] - ordered[: len(ordered) - size + 1])) + 1


def table_width(most: int) -> int:
    """The number of regions in the sums of a chunk: a power of two, so that programs are few."""
    return 1 << (max(most, 1) - 1).bit_length()


def chunk_sums(
    x: jax.Array,
    inside: jax.Array,
    weights: jax.Array,
    further: jax.Array | None,
    ranks: jax.Array,
    points: Mapping[str, Points],
    width: int,
) -> dict[str, Any]:
    """Sums over the rows of each region, for each chunk of the rows sorted by region; traceable.

    Args:
        x: (n, d) samples.
        inside: (n,) weights, window included.
        weights: (n,) weights without the window.
        further: (n, S) further numbers to add up, window and weights included; or None.
        ranks: (n,) ranks of the regions of the samples, see ``Ranked``.
        points: the points of each statistic.
        width: the result of ``table_width`` for all chunks.

    Returns:
        ``first``, the first rank (chunks,) of each chunk; and for the ``width`` ranks from there
        on, (chunks, width, ...), the ``sums`` in the bin, ``weight`` and ``further``.
    """
    statistics, prepared = prepared_at(x, points)
    order = jnp.argsort(ranks, stable=True)
    given = (x, inside, weights, further, ranks.astype(jnp.int32))
    chunks = jax.tree.map(lambda a: in_chunks(a[order]), given)

    def of_chunk(chunk: Any) -> Any:
        x, inside, weights, further, ranks = chunk
        # Rows that pad the last chunk have no weight.
        which = (ranks - ranks[0])[:, None] == jnp.arange(width)
        which = which.astype(x.dtype)
        counts = {}
        for name, one in statistics.items():
            tables = one.values(list(x.T), prepared[name])
            raw = jnp.stack([matmul(table * inside, which).T for table in tables], axis=1)
            counts[name] = jax.vmap(one.finish, (0, None))(raw, prepared[name])
        return {
            "first": ranks[0],
            "sums": BinSums(matmul(inside, which), counts),
            "weight": matmul(weights, which),
            "further": None if further is None else matmul(which.T, further),
        }

    return lax.map(of_chunk, chunks)


class RegionTable:
    """Linear functions of the sums of a catalog, for each of K regions.

    Args:
        regions: number K of regions.
        size: number Q of functions.
    """

    def __init__(self, regions: int, size: int) -> None:
        self.values = np.zeros((regions, size))

    def add(
        self,
        found: Mapping[str, Any],
        ranked: Ranked,
        sensitivity: Sensitivity,
        of_further: np.ndarray | None = None,
    ) -> None:
        """Add the result of ``chunk_sums`` of a block, times derivatives of the functions.

        Args:
            found: the sums.
            ranked: the regions of the block.
            sensitivity: derivatives of the Q functions with respect to the sums.
            of_further: (Q, S) derivatives with respect to the further sums.
        """
        moved = np.multiply.outer(_double(found["sums"].weight), sensitivity.sums.weight)
        moved += np.multiply.outer(_double(found["weight"]), sensitivity.weight)
        for name, counts in found["sums"].counts.items():
            derivatives = np.reshape(sensitivity.sums.counts[name], (len(self.values[0]), -1))
            moved += _double(counts).reshape(*counts.shape[:2], -1) @ derivatives.T
        if of_further is not None and of_further.size:
            moved += _double(found["further"]) @ of_further.T
        for first, of_chunk in zip(found["first"], moved, strict=True):
            rows = ranked.regions[first : first + len(of_chunk)]
            self.values[rows] += of_chunk[: len(rows)]


def jackknife(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The delete-one jackknife covariance (Q, Q) of sums over K regions.

    Without region k, a sum S, scaled up to all regions, is (S - s_k) K / (K - 1). The covariance is
    (K - 1) / K times the sum of the outer products of these about their mean (Norberg et al. 2009,
    MNRAS 396, 19, equation 3), which is K / (K - 1) times the sum of those of s_k about theirs.

    Args:
        first, second: (K, Q) the sums s_k over each region; two estimates of the same numbers with
            independent noise, whose products then have no bias, or twice the same.
    """
    number = len(first)
    apart = [table - table.mean(axis=0) for table in (first, second)]
    products = apart[0].T @ apart[1]
    return number / (number - 1) * 0.5 * (products + products.T)


def noise_of_inverse(number: float, numbers: int, parameters: int) -> float:
    """The variance of parameters of generalized least squares over (J^T S^-1 J)^-1.

    For normal residuals whose covariance S is estimated from n independent regions or rows, with
    v = n - 1 degrees of freedom: (J^T S^-1 J)^-1 is too small by (v - M + P) / v (Hartlap et al.
    2007), and the parameters scatter more by (v - 1) / (v - M + P - 1) than with the true
    covariance (Rao 1967; Percival et al. 2014).

    Args:
        number: effective number n, infinite if S is known.
        numbers: number M of directions.
        parameters: number P of determined parameters.
    """
    if not np.isfinite(number):
        return 1.0
    degrees = number - 1
    left = degrees - numbers + parameters
    return degrees * (degrees - 1) / (left * (left - 1))


def _double(values: Any) -> np.ndarray:
    return np.asarray(values, float)
