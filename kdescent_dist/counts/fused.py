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
from kdescent_dist.numerics.vector_math import cos_sin_alone

# Kernels per pass over the samples: compile time grows faster than this number. A single pass saves
# launches.
_UNROLL, _UNROLL_ALL = 8, 32
_BLOCK = 1024  # samples per group of threads; sums of more samples have larger rounding errors


class FusedBackend:
    """Sums over all samples at once: each thread computes the values that it adds."""

    exp2 = staticmethod(jnp.exp2)

    cos_sin = staticmethod(cos_sin_alone)

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

        factors = [_blocks(factor) for factor in moments(columns, weights)]
        tables = pairs.tables(z, kernels)
        parts = _sums_of([table * factor for table in tables for factor in factors])
        sums = jnp.stack([tree_sum(part) for part in parts], axis=1)
        return jnp.split(sums, len(tables), axis=1)

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
        number = len(pairs.kernels[0])
        unroll = number if number <= _UNROLL_ALL else _UNROLL
        return finish(z, weights, lax.scan(add, zeros, kernels, unroll=unroll)[0])


def _sums_of(tables: list[jax.Array]) -> list[jax.Array]:
    """Sums over the last axis, by one reduction: XLA stores a table that several sums share."""
    zeros = [jnp.zeros((), table.dtype) for table in tables]

    def add(one: tuple, other: tuple) -> tuple:
        return tuple(a + b for a, b in zip(one, other, strict=True))

    return list(lax.reduce(tuple(tables), tuple(zeros), add, (tables[0].ndim - 1,)))


def _blocks(column: jax.Array) -> jax.Array:
    """Reshape (n,) to (blocks, 1, size), which broadcasts with kernels (K, 1); pad with zeros.

    All kernels of a block follow each other, and find the samples of the block in the cache.
    """
    n = len(column)
    size = min(_BLOCK, n)
    return jnp.pad(column, (0, -n % size)).reshape(-1, 1, size)
