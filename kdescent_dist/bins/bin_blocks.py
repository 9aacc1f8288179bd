"""Pairs of a bin and a block of samples, such that the window of the bin reaches the block."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdescent_dist.bins.bin_sums import BinArrays, BinSums
from kdescent_dist.bins.sorting import pairs_within_reach
from kdescent_dist.bins.windows import traced_softness, window_weights
from kdescent_dist.counts.origin import near_origin
from kdescent_dist.counts.statistics import ordered

Columns = Sequence[jax.Array]


class BinBlocks:
    """The pairs, and the computations that both passes of the sparse sums share.

    Args:
        hard: for each conditional column, whether the windows have hard edges.
        blocks: d compared columns, c conditional columns and the weights, each (blocks, size).
        bins: windows and points of m bins.

    Attributes:
        count: number of pairs.
        origin: (d,) a position near the samples.
        statistics: names to the statistics of the bins.
        width: number of raw sums of a bin: the weight, and each part of each count.
    """

    def __init__(
        self,
        hard: tuple[bool, ...],
        blocks: tuple[Columns, Columns, jax.Array],
        bins: BinArrays,
    ) -> None:
        self.x, self.conditions, self.weights = blocks
        self.hard, self.bins = hard, bins
        self.dtype = self.weights.dtype
        finite = [jnp.all(jnp.isfinite(a), axis=1) for a in (*self.x, self.weights)]
        self.listed, self.count = pairs_within_reach(
            self.conditions, bins.low, bins.high, bins.softness, ~jnp.all(jnp.stack(finite), axis=0)
        )
        self.origin = near_origin(jnp.stack([column.reshape(-1) for column in self.x], axis=1))
        self.statistics = ordered(bins.points)
        self._prepared = {
            name: jax.vmap(lambda points, one=one: one.prepare(points, self.origin))(
                bins.points[name]
            )
            for name, one in self.statistics.items()
        }
        self._shapes = {
            name: (len(one.parts), next(iter(bins.points[name].each.values())).shape[1])
            for name, one in self.statistics.items()
        }
        self.width = 1 + sum(parts * number for parts, number in self._shapes.values())

    @property
    def reached(self) -> jax.Array:
        """Whether the window of a bin reaches a block, (m, blocks)."""
        pairs = jnp.arange(len(self.listed), dtype=self.listed.dtype)
        listed = jnp.where(pairs < self.count, self.listed, len(pairs))
        reached = jnp.zeros(len(pairs), bool).at[listed].set(True, mode="drop")
        return reached.reshape(len(self.bins.low), -1)

    def at(self, i: jax.Array) -> tuple[jax.Array, jax.Array, list[jax.Array], Any, jax.Array]:
        """Pair i: bin, block, columns, window with its pullback, and weights times window."""
        blocks = self.weights.shape[0]
        bin_, block = self.listed[i] // blocks, self.listed[i] % blocks
        low, high = self.bins.low[bin_], self.bins.high[bin_]
        softness = traced_softness(self.bins.softness[bin_], self.hard)
        weights = self.weights[block]

        def window(*conditions: jax.Array) -> jax.Array:
            return window_weights(conditions, list(low), list(high), softness, weights)

        within, pull = jax.vjp(window, *(column[block] for column in self.conditions))
        return bin_, block, [column[block] for column in self.x], (within, pull), within * weights

    def prepared(self, name: str, bin_: jax.Array) -> Any:
        """The result of ``Statistic.prepare`` for a bin."""
        return jax.tree.map(lambda of_bins: of_bins[bin_], self._prepared[name])

    def factors(self, cotangents: dict[str, jax.Array]) -> dict[str, Any]:
        """The result of ``Statistic.factors`` by statistic, from cotangents (m, k, parts)."""
        return {
            name: jax.vmap(one.factors)(cotangents[name], self._prepared[name])
            for name, one in self.statistics.items()
        }

    def finished(self, table: jax.Array, squares: bool) -> BinSums:
        """Sums from a table (m, width) of raw sums; with ``squares``, of raw sums of squares."""
        weight, first, counts = table[:, 0], 1, {}
        for name, one in self.statistics.items():
            parts, number = self._shapes[name]
            last = first + parts * number
            raw = table[:, first:last].reshape(-1, parts, number)
            prepared = self._prepared[name]
            if squares:
                counts[name] = jax.vmap(one.finish_squares)(raw, weight, prepared)
            else:
                counts[name] = jax.vmap(one.finish)(raw, prepared)
            first = last
        return BinSums(weight, counts)
