"""Sums in many bins, over the blocks of sorted samples that the window of each bin reaches.

Each pass is one loop over pairs of a bin and a block. The number of pairs is a run-time value. So
the cost of a bin is proportional to its samples, and no array has samples x bins elements.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.bins.bin_blocks import BinBlocks
from kdescent_dist.bins.bin_sums import BinArrays, BinSquares, BinSums
from kdescent_dist.bins.plain_sparse import plain_sparse_sums
from kdescent_dist.bins.ratio_errors import norm_factors
from kdescent_dist.bins.sorting import cut
from kdescent_dist.numerics.differentiable import differentiable
from kdescent_dist.numerics.tiles import matmul

Columns = Sequence[jax.Array]


def sparse_sums(
    x: Columns,
    conditions: Columns,
    weights: jax.Array,
    bins: BinArrays,
    hard: tuple[bool, ...],
    kinds: tuple[str, ...] | None = None,
) -> tuple[BinSums, BinSquares | None]:
    """Sum weights and counts over the samples in each bin.

    The sums are differentiable with respect to samples and weights; ``bins`` are constants. A bin
    skips the blocks of samples beyond the reach of its window (``windows.reach``).

    Args:
        x: d compared columns, each (n,). Samples should be sorted by the conditional columns: any
            order gives the same sums to rounding, but at a higher cost.
        conditions: c conditional columns, each (n,).
        weights: (n,) weights.
        bins: windows and points of the bins.
        hard: for each conditional column, whether the windows have hard edges.
        kinds: normalization of the counts of each bin, to sum squares as well.

    Returns:
        The sums; and with ``kinds`` the sums of squares, which are constants in any derivative,
        else None.
    """
    columns = cut([*x, *conditions], len(bins.low))
    shape = columns[0].shape
    padded = jnp.pad(weights, (0, shape[0] * shape[1] - len(weights))).reshape(shape)
    blocks = (columns[: len(x)], columns[len(x) :], padded)
    found: Any = _sums(hard, kinds, blocks, lax.stop_gradient(bins))
    return found[0], lax.stop_gradient(found[1]) if kinds is not None else None


def _fast_sums(
    hard: tuple[bool, ...],
    kinds: tuple[str, ...] | None,
    blocks: tuple[Columns, Columns, jax.Array],
    bins: BinArrays,
) -> tuple[Any, ...]:
    """The sums of each bin; and, with ``kinds``, the sums of squares."""
    pairs = BinBlocks(hard, blocks, bins)
    squares, normalized = kinds is not None, _normalized(kinds)
    factors = jnp.asarray(norm_factors(kinds or ()), pairs.dtype)

    def add(i: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        bin_, block, columns, (within, _), weights = pairs.at(i)
        more = [matmul(within, blocks[2][block])[None]]
        doubled = [matmul(weights, weights)[None]] if squares else []
        cross, products = [], weights
        if normalized:
            of_norm = factors[bin_, 0] * weights + factors[bin_, 1] * blocks[2][block]
            products = weights * of_norm
            cross = [jnp.sum(products)[None]]
        for name, one in pairs.statistics.items():
            prepared = pairs.prepared(name, bin_)
            more += one.sums(columns, weights, prepared)
            if squares:
                doubled += one.square_sums(columns, weights * weights, prepared)
            if normalized:
                cross += one.sums(columns, products, prepared)
        # Pairs are sorted by bin, so the loop only writes the table: XLA would copy a table that is
        # also read at every pair. Compensated summation (Kahan 1965) keeps the rounding error small
        # for any number of blocks in a bin.
        table, before, total, lost = sums
        total, lost = (jnp.where(bin_ == before, part, 0) for part in (total, lost))
        change = jnp.concatenate(more + doubled + cross) - lost
        after = total + change
        table = lax.dynamic_update_index_in_dim(table, after, bin_, 0)
        return table, bin_, after, (after - total) - change

    width = pairs.width
    row = jnp.zeros((1 + squares + normalized) * width, pairs.dtype)
    table = jnp.zeros((len(bins.low), len(row)), pairs.dtype)
    table, *_ = lax.fori_loop(0, pairs.count, add, (table, jnp.int32(-1), row, row))
    sums = pairs.finished(table[:, :width], squares=False)
    if not squares:
        return (sums,)
    doubled = pairs.finished(table[:, width : 2 * width], squares=True)
    cross = pairs.finished(table[:, 2 * width :], squares=False).counts if normalized else {}
    # The norm may be of all samples, also of those beyond the reach of the bin.
    everywhere = blocks[2].reshape(-1)
    norm = factors[:, 0] * doubled.weight + factors[:, 1] * matmul(everywhere, everywhere)
    return sums, BinSquares(doubled.weight, norm, doubled.counts, cross)


def _normalized(kinds: tuple[str, ...] | None) -> bool:
    return kinds is not None and any(kind != "counts" for kind in kinds)


def _backward(hard, kinds, saved, cotangents):
    blocks, bins = saved
    cotangent = cotangents[0]
    pairs = BinBlocks(hard, blocks, bins)
    factors = pairs.factors(cotangent.counts)

    def add(i: jax.Array, gradients: Any) -> Any:
        bin_, block, columns, window, weights = pairs.at(i)
        total = cotangent.weight[bin_]
        slopes = [jnp.zeros_like(weights)] * len(columns)
        for name, one in pairs.statistics.items():
            of_bin = jax.tree.map(lambda f, bin_=bin_: f[bin_], factors[name])
            prepared = pairs.prepared(name, bin_)
            more, of_weights = one.gradients(columns, weights, prepared, of_bin)
            slopes = [a + b for a, b in zip(slopes, more, strict=True)]
            total = total + of_weights
        within, pull = window
        in_block = (slopes, list(pull(total * blocks[2][block])), total * within)
        return jax.tree.map(lambda sums, more: sums.at[block].add(more), gradients, in_block)

    zeros = jax.tree.map(jnp.zeros_like, (list(blocks[0]), list(blocks[1]), blocks[2]))
    return lax.fori_loop(0, pairs.count, add, zeros), None


def _plain_sums(hard, kinds, blocks, bins):
    """As ``_fast_sums``, for derivatives; sums of squares are constants, and are returned as 0."""
    pairs = BinBlocks(hard, blocks, bins)
    sums = plain_sparse_sums(hard, blocks, bins, pairs.reached, pairs.origin)
    if kinds is None:
        return (sums,)
    zeros = jax.tree.map(jnp.zeros_like, sums)
    cross = zeros.counts if _normalized(kinds) else {}
    return sums, BinSquares(zeros.weight, zeros.weight, zeros.counts, cross)


_sums = differentiable(_fast_sums, _backward, _plain_sums, static=2)
