"""Samples sorted by the cells of conditional bins and cut into small blocks, which few bins reach.

A bin skips the blocks that its window does not reach, according to the smallest and the largest
value of each conditional column in the block. So an approximate sort order is enough.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.windows import reach
from kdescent_dist.numerics.differentiable import differentiable

SMALLEST, LARGEST = 256, 1024  # samples per block: more work than overhead, and fits into the cache


def order_by_cells(conditions: Sequence[jax.Array], edges: Sequence[np.ndarray]) -> jax.Array:
    """Return a permutation (n,), int32, that groups the samples of each cell of a grid.

    Cells are ordered by the first column, then by the next columns. Within the last column, samples
    are sorted as finely as the bits allow. The cell and the index of a sample share one 32-bit
    integer, because sorting integers is many times faster than sorting pairs.

    Args:
        conditions: columns, each (n,).
        edges: for each column, increasing edges of cells; values outside move to the nearest edge.
    """
    (n,) = conditions[0].shape
    index_bits = max((n - 1).bit_length(), 1)
    place, cells = jnp.zeros(n, jnp.float32), 1
    for i, (column, its) in enumerate(zip(conditions, edges, strict=True)):
        rank = jnp.interp(column.astype(jnp.float32), its, np.arange(len(its), dtype=np.float32))
        place = place * len(its) + (rank if i + 1 == len(edges) else jnp.floor(rank))
        cells *= len(its)
    largest = 2 ** (32 - index_bits) - 1
    code = jnp.minimum((place * (largest / cells)).astype(jnp.uint32), np.uint32(largest))
    packed = (code << index_bits) | jnp.arange(n, dtype=jnp.uint32)
    return (jnp.sort(packed) & np.uint32(2**index_bits - 1)).astype(jnp.int32)


def _permuted(columns: Sequence[jax.Array], order: jax.Array) -> list[jax.Array]:
    """Columns (n,) in another order; the derivative is a gather instead of a scatter."""
    return [column.at[order].get(mode="promise_in_bounds") for column in columns]


def _permuted_backward(arrays, gradients):
    _, order = arrays
    rows = jnp.arange(len(order), dtype=order.dtype)
    inverse = jnp.zeros_like(order).at[order].set(rows, unique_indices=True)
    return permuted(gradients, inverse), None


permuted = differentiable(_permuted, _permuted_backward)


def cut(columns: Sequence[jax.Array], bins: int) -> list[jax.Array]:
    """Cut columns (n,) into blocks (blocks, size); the last block is padded with the last value.

    The size is the largest power of two up to n / bins, but at least 256 and at most 1,024.
    """
    (n,) = columns[0].shape
    size = int(np.clip(2 ** int(np.log2(max(n // bins, 1))), SMALLEST, LARGEST))
    pad = -n % size
    return [jnp.pad(column, (0, pad), mode="edge").reshape(-1, size) for column in columns]


def pairs_within_reach(
    conditions: Sequence[jax.Array],
    low: jax.Array,
    high: jax.Array,
    softness: jax.Array,
    spoiled: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """List the pairs of a bin and a block such that the window of the bin reaches the block.

    Args:
        conditions: c columns, each (blocks, size).
        low, high: (m, c) edges of the windows.
        softness: (m, c) softness of the windows.
        spoiled: (blocks,) whether a block has non-finite values. No bin skips such a block, so
            that the values show up in the sums.

    Returns:
        ``bin * blocks + block`` of each pair, sorted by bin and padded with zeros: (m * blocks,),
        int32; and the number of pairs.
    """
    blocks, bins = len(conditions[0]), len(low)
    # The window is below exp(-depth) in the block. Depths of the columns add up.
    depth = jnp.zeros((bins, blocks), low.dtype)
    for i, column in enumerate(conditions):
        first, last, width = (a[:, i : i + 1] for a in (low, high, softness * (high - low)))
        away = jnp.maximum(first - jnp.max(column, axis=1), jnp.min(column, axis=1) - last)
        soft = jnp.maximum(away, 0) / jnp.where(width > 0, width, 1)
        depth += jnp.where(width > 0, soft, jnp.where(away > 0, jnp.inf, 0))
    # Comparisons with NaN are false: a NaN is outside of no bin.
    outside = depth > reach(1.0, low.dtype)
    outside &= ~spoiled
    rank = jnp.cumsum(~outside, axis=1, dtype=jnp.int32)
    before = jnp.cumsum(rank[:, -1]) - rank[:, -1]
    place = jnp.where(outside, bins * blocks, before[:, None] + rank - 1).reshape(-1)
    pairs = jnp.arange(bins * blocks, dtype=jnp.int32)
    listed = jnp.zeros_like(pairs).at[place].set(pairs, mode="drop", unique_indices=True)
    return listed, before[-1] + rank[-1, -1]
