"""The sums of ``sparse_sums`` in plain operations, which JAX can differentiate in any mode.

A loop over bins contains a loop over blocks. Both loops have lengths that are known at compile
time, because JAX cannot differentiate other loops in reverse mode. A bin skips the blocks out of
its reach at run time.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.bins.bin_sums import BinArrays, BinSums
from kdescent_dist.bins.windows import traced_softness, window_weights
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.tiles import map_rows, matmul


def plain_sparse_sums(
    hard: tuple[bool, ...],
    blocks: Any,
    bins: BinArrays,
    within_reach: jax.Array,
    origin: jax.Array,
) -> BinSums:
    """Sum weights and counts in each bin.

    Args:
        hard: for each conditional column, whether the windows have hard edges.
        blocks: d compared columns, c conditional columns and the weights, each (blocks, size).
        bins: windows and points of m bins.
        within_reach: (m, blocks) whether the window of a bin reaches a block.
        origin: (d,) a position near the samples.
    """

    # Otherwise JAX keeps intermediate results of all pairs of bin and block for a reverse pass.
    @jax.checkpoint
    def of_bin(row: Any) -> BinSums:
        bin_, reached = row
        softness = traced_softness(bin_.softness, hard)
        statistics = ordered(bin_.points)
        prepared = {n: s.prepare(bin_.points[n], origin) for n, s in statistics.items()}

        def sums(block: Any) -> BinSums:
            columns, conditions, weights = block
            window = window_weights(conditions, list(bin_.low), list(bin_.high), softness, weights)
            weights = window * weights
            counts = {}
            for name, one in statistics.items():
                tables = one.values(columns, prepared[name])
                raw = jnp.stack([matmul(table, weights) for table in tables])
                counts[name] = one.finish(raw, prepared[name])
            return BinSums(jnp.sum(weights), counts)

        first = jax.tree.map(lambda a: a[0], blocks)
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(sums, first))

        @jax.checkpoint
        def of_block(row: Any) -> BinSums:
            reached, block = row
            return lax.cond(reached, sums, lambda _: nothing, block)

        return jax.tree.map(tree_sum, lax.map(of_block, (reached, blocks)))

    return map_rows(of_bin, (bins, within_reach))
