"""Sums over samples x kernels for GPUs: elementwise expressions that XLA fuses into each sum.

No table of samples x kernels is stored. XLA would store a table that several sums share. So sums
over samples take one moment at a time, and sums over kernels are an unrolled loop, with a few
kernels in each pass over the samples. Compiled for an H100, temporary memory is 12 to 52 bytes per
sample in three dimensions, for any number of kernels; the speed is not measured. A CPU computes
the same numbers, slowly.
"""

import operator
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.counts.contraction import Columns, Finish, Moments, PairTables
from kdescent_dist.numerics.reductions import tree_sum

_UNROLL = 8  # kernels per pass over the samples: compile time grows faster than this number
_BLOCK = 1024  # samples per group of threads; sums of more samples have larger rounding errors


class FusedBackend:
    """Sums over all samples at once: each thread computes the values that it adds."""

    exp2 = staticmethod(jnp.exp2)

    def transform(self, matrix: jax.Array, columns: Columns) -> Columns:
        rows = [
            reduce(operator.add, [row[j] * columns[j] for j in range(i + 1)])
            for i, row in enumerate(matrix)
        ]
        # The barrier stores the rows; otherwise XLA would recompute the rows for each kernel.
        return list(lax.optimization_barrier(rows))

    def over_samples(
        self, pairs: PairTables, x: jax.Array, weights: jax.Array, moments: Moments
    ) -> list[jax.Array]:
        columns = pairs.prepare(list(x.T))
        z = [_blocks(c) for c in columns]
        kernels = [c[:, None] for c in pairs.kernels]

        # One moment at a time: XLA would store a table that moments share.
        def of_moment(factor: jax.Array) -> list[jax.Array]:
            tables = pairs.tables(z, kernels)
            return [tree_sum(jnp.sum(table * factor, axis=2)) for table in tables]

        factors = jnp.stack([_blocks(factor) for factor in moments(columns, weights)])
        return [part.T for part in lax.map(of_moment, factors)]

    def over_kernels(
        self,
        pairs: PairTables,
        x: jax.Array,
        weights: jax.Array,
        rows: list[jax.Array],
        finish: Finish,
    ) -> Columns:
        z = pairs.prepare(list(x.T))

        def add(sums: Columns, kernel: tuple[Columns, list[jax.Array]]) -> tuple[Columns, None]:
            coordinates, factors = kernel
            for table, f in zip(pairs.tables(z, coordinates), factors, strict=True):
                sums = [total + f[i] * table for i, total in enumerate(sums)]
            return sums, None

        # zeros_like: inside shard_map, plain zeros do not have the type of sums over local samples.
        zeros = [jnp.zeros_like(z[0])] * len(rows[0])
        kernels = (pairs.kernels, [table_rows.T for table_rows in rows])
        return finish(z, weights, lax.scan(add, zeros, kernels, unroll=_UNROLL)[0])


def _blocks(column: jax.Array) -> jax.Array:
    """Reshape (n,) to (blocks, 1, size), which broadcasts with kernels (K, 1); pad with zeros.

    All kernels of a block follow each other, and find the samples of the block in the cache.
    """
    n = len(column)
    size = min(_BLOCK, n)
    return jnp.pad(column, (0, -n % size)).reshape(-1, 1, size)
