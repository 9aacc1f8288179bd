"""Sums in many bins, over all samples for each bin."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.bins.bin_sums import BinArrays, BinSums
from kdescent_dist.bins.windows import traced_softness, window_weights
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.numerics.tiles import map_rows, matmul


def dense_sums(
    backend: str,
    x: Sequence[jax.Array],
    conditions: Sequence[jax.Array],
    weights: jax.Array,
    bins: BinArrays,
    hard: tuple[bool, ...],
    squares: bool,
) -> tuple[BinSums, BinSums | None]:
    """Sum weights and counts in each bin, over all samples in any order.

    ``backend`` is the backend of the counts, see ``counts.backends``. The other arguments and the
    results are as in ``sparse_sums``.
    """
    samples = jnp.stack(x, axis=1)

    # Otherwise JAX keeps window and whitened samples of each bin for the backward pass.
    @jax.checkpoint
    def of_bin(bin_: BinArrays) -> tuple[BinSums, BinSums | None]:
        softness = traced_softness(bin_.softness, hard)
        within = window_weights(conditions, list(bin_.low), list(bin_.high), softness, weights)
        in_bin = within * weights
        statistics = ordered(bin_.points)
        counts = {
            name: one.counts(samples, in_bin, bin_.points[name], backend)
            for name, one in statistics.items()
        }
        sums = BinSums(matmul(within, weights), counts)
        if not squares:
            return sums, None
        x, once = lax.stop_gradient((samples, in_bin))
        total = matmul(once, once)
        noise = {
            name: one.squares(x, once, bin_.points[name], backend, total)
            for name, one in statistics.items()
        }
        return sums, BinSums(total, noise)

    return map_rows(of_bin, bins)
