"""Sums over samples x kernels for CPUs: a loop over tiles that fit into the cache of a core."""

import operator
from functools import reduce

import jax
import jax.numpy as jnp

from kdescent_dist.counts.contraction import Columns, Finish, Moments, PairTables
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.tiles import matmul, scan_tiles
from kdescent_dist.numerics.vector_math import cos_sin_alone, exp2_nonpositive


class TiledBackend:
    """Contracts one tile of samples x all kernels at a time, by small matrix products."""

    exp2 = staticmethod(exp2_nonpositive)

    cos_sin = staticmethod(cos_sin_alone)

    def transform(self, matrix: jax.Array, columns: Columns) -> Columns:
        # XLA fuses no matrix product into later operations, which would repeat it per kernel.
        return list(matmul(matrix, jnp.stack(columns)))

    def over_samples(
        self, pairs: PairTables, x: jax.Array, weights: jax.Array, moments: Moments
    ) -> list[jax.Array]:
        def body(columns: Columns, w: jax.Array) -> list[jax.Array]:
            z = pairs.prepare(columns)
            factors = jnp.stack(moments(z, w), axis=1)
            return [matmul(table, factors) for table in tile_tables(pairs, z)]

        return [tree_sum(part) for part in scan_tiles(body, x, weights)]

    def over_kernels(
        self,
        pairs: PairTables,
        x: jax.Array,
        weights: jax.Array,
        rows: list[jax.Array],
        finish: Finish,
    ) -> Columns:
        def body(columns: Columns, w: jax.Array) -> Columns:
            z = pairs.prepare(columns)
            tables = tile_tables(pairs, z)
            products = [matmul(f, table) for f, table in zip(rows, tables, strict=True)]
            return finish(z, w, list(reduce(operator.add, products)))

        return [column.reshape(-1)[: len(x)] for column in scan_tiles(body, x, weights)]


def tile_tables(pairs: PairTables, z: Columns) -> tuple[jax.Array, ...]:
    """The tables (K, size) of one tile."""
    return pairs.tables([c[None, :] for c in z], [c[:, None] for c in pairs.kernels])
