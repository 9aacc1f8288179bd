"""The units of a device, one after the other: the form for CPUs.

One block at a time is in work. What the gradient needs of the blocks is kept where it fits into a
memory budget; else each block is computed again, which bounds the memory. The lengths of the loops
are run-time values, so that XLA compiles the same code for one block and for many: the bits do not
depend on the mesh.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.numerics.reductions import streamed_sum
from kdescent_dist.objective.units import (
    FlatSums,
    PullBack,
    Share,
    added_in_nodes,
    needed_bytes,
)

log = logging.getLogger(__name__)

# Bytes of a block up to which keeping them is faster than computing the block again: about what the
# caches of a core hold. Measured with models of 20 to 60,000 bytes a sample.
CACHE = 4e6


@dataclass(frozen=True)
class OneByOne:
    """Evaluates one unit at a time, see ``Units``.

    Attributes:
        layout: the blocks of samples.
        mesh: mesh with axes ``samples`` and ``kernels``.
        kernel_blocks: number of blocks of kernels on all devices.
        memory: bytes for what the gradient needs of the blocks. If all blocks of all devices fit,
            and a block fits into the caches of a core, it is kept.
    """

    layout: SampleBlocks
    mesh: Mesh
    kernel_blocks: int
    memory: float

    def sums(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Share
    ) -> jax.Array:
        def of_unit(block, kernel_block, columns):
            return flat(params, block, columns, kernel_block)

        return self._table(of_unit, like, catalog, share)

    def pulled_back(
        self, flat: FlatSums, params: jax.Array, catalog: Any, share: Share, cotangents: jax.Array
    ) -> jax.Array:
        def of_unit(block, kernel_block, columns):
            _, pull = jax.vjp(lambda p: flat(p, block, columns, kernel_block), params)
            return pull(cotangents[kernel_block])[0]

        return self._table(of_unit, params, catalog, share)

    def sums_and_pullback(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Share
    ) -> tuple[jax.Array, PullBack]:
        kernel_blocks = self.kernel_blocks // self.mesh.shape["kernels"]
        of_block = needed_bytes(flat, params, catalog, kernel_blocks)
        kept = of_block <= CACHE and of_block * self.layout.count <= self.memory
        log.info(
            "samples: %d blocks of %d on a device; each takes %.3g MB, which are %s",
            *(self.layout.per_device(self.mesh), self.layout.block_size, of_block / 1e6),
            "kept for the gradient" if kept else "computed again for the gradient",
        )
        if kept:
            return self._kept(flat, like, params, catalog, share)

        def pull(cotangents: jax.Array) -> jax.Array:
            return self.pulled_back(flat, params, catalog, share, cotangents)

        return self.sums(flat, like, params, catalog, share), pull

    def _kept(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Share
    ) -> tuple[jax.Array, PullBack]:
        """As ``sums_and_pullback``, with what the gradient needs of each unit in memory."""
        first, number = share
        kernel_blocks = self.kernel_blocks // self.mesh.shape["kernels"]
        first_kernel = lax.axis_index("kernels") * kernel_blocks
        blocks, node = self.layout.per_device(self.mesh), self.layout.node(self.mesh)
        # At least two rows: XLA would drop the index of a single one, and compile another program.
        rows = max(blocks * kernel_blocks, 2)

        structures: list[Any] = []

        def forward(i: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
            block, kernel_block = i // kernel_blocks, i % kernel_blocks
            columns = jax.tree.map(lambda a: a[block], catalog)
            unit = first + block, columns, first_kernel + kernel_block
            sums, pull = jax.vjp(lambda p: flat(p, *unit), params)
            needed, structure = jax.tree.flatten(pull)
            structures.append(structure)
            return sums, needed

        def in_rows(of_unit: Callable, shapes: Any) -> Any:
            def of_row(i: jax.Array, table: Any) -> Any:
                return jax.tree.map(lambda a, row: a.at[i].set(row), table, of_unit(i))

            table = jax.tree.map(lambda a: jnp.zeros((rows, *a.shape), a.dtype), shapes)
            return lax.fori_loop(0, number * kernel_blocks, of_row, table)

        def added(table: jax.Array) -> jax.Array:
            units = table[: blocks * kernel_blocks]
            units = units.reshape(blocks, kernel_blocks, *table.shape[1:])
            return added_in_nodes(units, number, node)

        sums, needed = in_rows(forward, jax.eval_shape(forward, first))

        def pull_back(cotangents: jax.Array) -> jax.Array:
            def of_unit(i: jax.Array) -> jax.Array:
                pull = structures[0].unflatten(a[i] for a in needed)
                return pull(cotangents[first_kernel + i % kernel_blocks])[0]

            return added(in_rows(of_unit, params))

        return added(sums), pull_back

    def _table(self, of_unit: Callable, like: Any, catalog: Any, share: Share) -> jax.Array:
        """Arrays of ``of_unit``, which are like ``like``, added up in each node of this device."""
        first, number = share
        kernel_blocks = self.kernel_blocks // self.mesh.shape["kernels"]
        first_kernel = lax.axis_index("kernels") * kernel_blocks
        node = self.layout.node(self.mesh)
        nodes = self.layout.per_device(self.mesh) // node

        def at(block: jax.Array, kernel_block: jax.Array) -> jax.Array:
            columns = jax.tree.map(lambda a: a[block], catalog)
            return of_unit(first + block, first_kernel + kernel_block, columns)

        def of_node(i: jax.Array, table: jax.Array) -> jax.Array:
            begin = i // kernel_blocks * node
            blocks = jnp.minimum(number - begin, node)
            sums = streamed_sum(lambda j: at(begin + j, i % kernel_blocks), blocks, node, like)
            return table.at[i].set(sums)

        # Nodes without blocks keep the zeros of the table.
        used = -(-number // node) * kernel_blocks
        table = jnp.zeros((nodes * kernel_blocks, *like.shape), like.dtype)
        table = lax.fori_loop(0, used, of_node, table)
        return table.reshape(nodes, kernel_blocks, *like.shape)
