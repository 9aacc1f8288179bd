"""The sums of a bin from the values of each sample at each point, for tests."""

import jax.numpy as jnp

from kdescent_dist.bins.bin_sums import BinSquares, BinSums


def table_sums(kind, tables, weights, inside):
    """The sums over samples (m, n) and their squares.

    Args:
        kind: normalization of the counts.
        tables: names of statistics to values (m, n, points, parts).
        weights: (m, n) weights.
        inside: (m, n) weights, window included.
    """
    of_norm = {"conditional": inside, "density": weights, "counts": 0 * weights}[kind]

    def added(weights, power=1):
        return {n: jnp.einsum("mn,mnkp->mkp", weights, t**power) for n, t in tables.items()}

    sums = BinSums(inside.sum(axis=1), added(inside))
    square, norm = ((w * w).sum(axis=1) for w in (inside, of_norm))
    return sums, BinSquares(square, norm, added(inside**2, 2), added(inside * of_norm))
