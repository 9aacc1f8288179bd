"""Sums over samples x kernels in hand-written kernels for NVIDIA GPUs (Hopper and later).

The programs use the Mosaic GPU backend of Pallas. A group of 128 threads keeps a block of samples
in registers, loops over all kernels, and writes the sums of its block. Sums over samples are then
added over blocks in a fixed order. The programs compile for an H100; whether they run there, and
how fast, is not measured. Powers of two are those of the GPU's own unit, to 2 units in the last
place. A CPU interprets the programs, for tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.counts.contraction import Columns, Finish, Moments, PairTables
from kdescent_dist.counts.fused import FusedBackend
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.vector_math import cos_sin_by_half_angle

_THREADS, _BLOCK = 128, 2048  # samples per block: up to sixteen in the registers of each thread


@dataclass(frozen=True)
class PallasBackend(FusedBackend):
    """One program per block of samples.

    Attributes:
        interpret: whether to evaluate the programs by ordinary operations, on any platform.
    """

    interpret: bool

    def cos_sin(self, turns: Callable[[float], jax.Array], /) -> tuple[jax.Array, jax.Array]:
        return cos_sin_by_half_angle(turns(0.0))

    def over_samples(
        self, pairs: PairTables, x: jax.Array, weights: jax.Array, moments: Moments
    ) -> list[jax.Array]:
        columns = pairs.prepare(list(x.T))
        factors = moments(columns, weights)

        def program(block, mine, z_ref, factors_ref, kernels_ref, *sums_refs):
            z = [z_ref[i, mine] for i in range(len(columns))]
            f = [factors_ref[i, mine] for i in range(len(factors))]

            def step(k: jax.Array, _: None) -> None:
                tables = pairs.tables(z, [kernels_ref[i, k] for i in range(len(pairs.kernels))])
                for sums_ref, table in zip(sums_refs, tables, strict=True):
                    for i, factor in enumerate(f):
                        sums_ref[block, i, k] = jnp.sum(table * factor)

            lax.fori_loop(0, len(pairs.kernels[0]), step, None)

        size = _block_size(len(x))
        arrays = (_padded(columns, size), _padded(factors, size), jnp.stack(pairs.kernels))
        blocks = arrays[0].shape[1] // size
        shape = (blocks, len(factors), len(pairs.kernels[0]))
        scalars = [c[0] for c in pairs.kernels]
        tables = jax.eval_shape(pairs.tables, scalars, scalars)
        sums = self._call(program, size, [shape] * len(tables), *arrays)
        return [tree_sum(one).T for one in sums]

    def over_kernels(
        self,
        pairs: PairTables,
        x: jax.Array,
        weights: jax.Array,
        rows: list[jax.Array],
        finish: Finish,
    ) -> Columns:
        columns = pairs.prepare(list(x.T))

        def program(block, mine, z_ref, rows_ref, kernels_ref, sums_ref):
            z = [z_ref[i, mine] for i in range(len(columns))]

            def step(k: jax.Array, sums: Columns) -> Columns:
                tables = pairs.tables(z, [kernels_ref[i, k] for i in range(len(pairs.kernels))])
                for t, table in enumerate(tables):
                    sums = [s + rows_ref[t, i, k] * table for i, s in enumerate(sums)]
                return sums

            # Zeros from z: new zeros would have another register layout than the tables.
            zeros = [0.0 * z[0]] * len(rows[0])
            sums = lax.fori_loop(0, len(pairs.kernels[0]), step, zeros)
            for i, total in enumerate(sums):
                sums_ref[i, mine] = total

        size = _block_size(len(x))
        arrays = (_padded(columns, size), jnp.stack(rows), jnp.stack(pairs.kernels))
        shape = (len(rows[0]), arrays[0].shape[1])
        (sums,) = self._call(program, size, [shape], *arrays)
        return finish(columns, weights, list(sums[:, : len(x)]))

    def _call(
        self,
        program: Callable,
        size: int,
        shapes: list[tuple[int, ...]],
        z: jax.Array,
        *others: jax.Array,
    ) -> list[jax.Array]:
        """Run one program for each block of coordinates z (d, blocks * size); returns the sums."""
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import mosaic_gpu

        blocks = z.shape[1] // size
        # Inside shard_map, the sums must vary over the mesh like the samples.
        outputs = jax.eval_shape(lambda z: [jnp.broadcast_to(z[0, 0], s) for s in shapes], z)

        def of_block(index: Callable[[], jax.Array], *refs: Any) -> None:
            block = index()
            program(block, pl.ds(block * size, size), *refs)

        if self.interpret:
            body = partial(of_block, lambda: pl.program_id(0))
            call = pl.pallas_call(body, grid=(blocks,), out_shape=outputs, interpret=True)
        else:
            body = partial(of_block, lambda: lax.axis_index("block"))
            call = mosaic_gpu.kernel(
                body,
                out_type=outputs,
                grid=(blocks,),
                grid_names=("block",),
                compiler_params=mosaic_gpu.CompilerParams(approx_math=True),
            )
        return call(z, *others)


def _block_size(samples: int) -> int:
    """Samples of a block: a power of two, so that few samples do not leave most of it empty."""
    return min(_BLOCK, max(_THREADS, 1 << (samples - 1).bit_length()))


def _padded(columns: Columns, size: int) -> jax.Array:
    """Stack columns (n,) into (columns, blocks * size), padded with zeros."""
    return jnp.stack([jnp.pad(c, (0, -len(c) % size)) for c in columns])
