"""The units of a device, one after the other: the form for CPUs.

One block at a time is in work, which bounds the memory, and each block is computed again for its
gradient. The lengths of the loops are run-time values, so that XLA compiles the same code for one
block and for many: the bits do not depend on the mesh.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.numerics.reductions import streamed_sum
from kdescent_dist.objective.units import FlatSums, PullBack, Share


@dataclass(frozen=True)
class OneByOne:
    """Evaluates one unit at a time, see ``Units``.

    Attributes:
        layout: the blocks of samples.
        mesh: mesh with axes ``samples`` and ``kernels``.
        kernel_blocks: number of blocks of kernels on all devices.
    """

    layout: SampleBlocks
    mesh: Mesh
    kernel_blocks: int

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
        def pull(cotangents: jax.Array) -> jax.Array:
            return self.pulled_back(flat, params, catalog, share, cotangents)

        return self.sums(flat, like, params, catalog, share), pull

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

        def of_kernels(k: jax.Array, table: jax.Array) -> jax.Array:
            # What depends on the kernels and not on the samples is computed once for all nodes.
            def of_node(i: jax.Array, table: jax.Array) -> jax.Array:
                begin = i * node
                blocks = jnp.minimum(number - begin, node)
                sums = streamed_sum(lambda j: at(begin + j, k), blocks, node, like)
                return table.at[i, k].set(sums)

            return lax.fori_loop(0, used, of_node, table)

        # Nodes without blocks keep the zeros of the table.
        used = -(-number // node)
        table = jnp.zeros((nodes, kernel_blocks, *like.shape), like.dtype)
        return lax.fori_loop(0, jnp.minimum(used * kernel_blocks, kernel_blocks), of_kernels, table)
