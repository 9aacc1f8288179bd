"""The sums of ``sparse_sums`` in plain operations, whose derivatives JAX finds by itself.

A loop over bins around one over blocks, with trip counts that the compiler knows: JAX reverses no
other loop. A block out of the reach of a bin is skipped at run time.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.bins.windows import traced_softness, window_weights
from kdescent_dist.counts.fourier import plain_waves, rotate
from kdescent_dist.counts.kde import plain_kernels, whitening
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.tiles import map_rows, matmul
from kdescent_dist.numerics.vector_math import phase_turns


def plain_sparse_sums(
    hard: tuple[bool, ...], blocks: Any, bins: Any, within_reach: jax.Array, origin: jax.Array
) -> jax.Array:
    """Sums of weights, kernels, cosines and sines in each bin, side by side.

    Args:
        hard: of each conditional column, whether the windows have hard edges.
        blocks: d columns, c conditional columns and the weights, (blocks, size) each.
        bins: the ``BinArrays`` of m bins.
        within_reach: (m, blocks) whether the window of a bin reaches a block.
        origin: (d,) a position near the samples.

    Returns:
        (m, 1 + kernels + 2 modes) sums.
    """

    # What each pair of a bin and a block needs would otherwise be kept for a reverse pass.
    @jax.checkpoint
    def of_bin(row: Any) -> jax.Array:
        bin_, reached = row
        softness = traced_softness(bin_.softness, hard)
        kernels, modes = len(bin_.centers), len(bin_.modes)
        if kernels:
            whiten, centers, norm = whitening(bin_.centers, bin_.cov)

        def sums(block: Any) -> jax.Array:
            columns, conditions, weights = block
            window = window_weights(conditions, list(bin_.low), list(bin_.high), softness, weights)
            weights = window * weights
            parts = [jnp.sum(weights)[None]]
            if kernels:
                parts.append(norm * matmul(plain_kernels(whiten(columns), centers), weights))
            if modes:
                waves = plain_waves(columns, bin_.modes, origin)
                cos, sin = (matmul(wave, weights) for wave in waves)
                parts += rotate(cos, sin, turns)
            return jnp.concatenate(parts)

        turns = phase_turns(bin_.modes, origin)
        nothing = jnp.zeros(1 + kernels + 2 * modes, blocks[2].dtype)

        @jax.checkpoint
        def of_block(row: Any) -> jax.Array:
            reached, block = row
            return lax.cond(reached, sums, lambda _: nothing, block)

        return tree_sum(lax.map(of_block, (reached, blocks)))

    return map_rows(of_bin, (bins, within_reach))
