"""Sums in many bins, over all samples for each bin."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.bins.bin_sums import BinArrays, BinSquares, BinSums
from kdescent_dist.bins.ratio_errors import norm_factors
from kdescent_dist.bins.windows import traced_softness, window_weights
from kdescent_dist.counts.backends import SIDE_BY_SIDE
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.numerics.tiles import map_rows, matmul


def dense_sums(
    backend: str,
    x: Sequence[jax.Array],
    conditions: Sequence[jax.Array],
    weights: jax.Array,
    bins: BinArrays,
    hard: tuple[bool, ...],
    kinds: tuple[str, ...] | None,
) -> tuple[BinSums, BinSquares | None]:
    """Sum weights and counts in each bin, over all samples in any order.

    ``backend`` is the backend of the counts, see ``counts.backends``. The other arguments and the
    results are as in ``sparse_sums``.
    """
    samples = jnp.stack(x, axis=1)
    normalized = kinds is not None and any(kind != "counts" for kind in kinds)

    def of_bin(row: Any) -> tuple[BinSums, BinSquares | None]:
        bin_, factors = row
        softness = traced_softness(bin_.softness, hard)
        within = window_weights(conditions, list(bin_.low), list(bin_.high), softness, weights)
        in_bin = within * weights
        statistics = ordered(bin_.points)
        counts = {
            name: one.counts(samples, in_bin, bin_.points[name], backend)
            for name, one in statistics.items()
        }
        sums = BinSums(matmul(within, weights), counts)
        if factors is None:
            return sums, None
        x, once, everywhere = lax.stop_gradient((samples, in_bin, weights))
        of_norm = factors[0] * once + factors[1] * everywhere
        total = matmul(once, once)
        squares, cross = {}, {}
        for name, one in statistics.items():
            points = bin_.points[name]
            squares[name] = one.squares(x, once, points, backend, total)
            if normalized:
                cross[name] = one.counts(x, once * of_norm, points, backend)
        return sums, BinSquares(total, matmul(of_norm, of_norm), squares, cross)

    factors = None if kinds is None else jnp.asarray(norm_factors(kinds), weights.dtype)
    if backend in SIDE_BY_SIDE:
        return jax.vmap(of_bin)((bins, factors))
    # Otherwise JAX keeps window and whitened samples of each bin for the backward pass.
    return map_rows(jax.checkpoint(of_bin), (bins, factors))
