"""The chain rule at the sums: a loss of sums over blocks of samples, and its gradient.

Blocks of samples are the unit of work; their number and size follow from the config alone. A step
adds up the sums of all blocks over the mesh, differentiates the loss of the sums, and pulls that
cotangent back through each block. No derivative goes through a collective, and memory is bounded
by one block. The loops over blocks have dynamic trip counts and the sums of each unit land in
a table that is added up in an order of its own, so that in the ``reproducible`` reduction the bits
are the same on any mesh.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from kdescent_dist.block_layout import BlockLayout
from kdescent_dist.mesh import replicated, tree_sum

# unit(params, block index, block of the catalog, kernel block index) -> pytree of sums
UnitSums = Callable[[jax.Array, jax.Array, Any, jax.Array], Any]
# loss(params, sums of each kernel block, stacked along a leading axis) -> scalar
SumsLoss = Callable[[jax.Array, Any], jax.Array]


@dataclass(frozen=True)
class BlockSums:
    """Evaluates a loss of block sums and its gradient over a mesh.

    Attributes:
        layout: the blocks of samples.
        mesh: mesh with axes ``samples`` and ``kernels``.
        kernel_blocks: number of units into which kernels are cut, a multiple of the mesh's axis.
        reproducible: gather the sums of each unit and add them in a fixed order; else ``psum``.
    """

    layout: BlockLayout
    mesh: Mesh
    kernel_blocks: int
    reproducible: bool

    def value_and_grad(
        self,
        make: Callable[[Any, jax.Array], tuple[UnitSums, SumsLoss]],
        params: jax.Array,
        key: jax.Array,
        shared: Any,
        catalog: Any,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the loss, and its gradient (parameters,) with respect to ``params``.

        Args:
            make: from (shared, key) to the sums of one unit, and the loss of all sums.
            params: (parameters,) parameters.
            key: random key of the step.
            shared: arrays that each device holds whole.
            catalog: arrays (blocks, block_size) sharded over samples.
        """

        def local(params, key, shared, catalog):
            unit, loss = make(shared, key)
            unravel = _unravel(unit, params, catalog)
            sums = self._reduce(self._table(unit, params, catalog))
            value, (direct, cotangents) = jax.value_and_grad(
                lambda p, sums: loss(p, unravel(sums)), argnums=(0, 1)
            )(params, lax.optimization_barrier(sums))
            cotangents = lax.optimization_barrier(cotangents)
            grads = self._reduce(self._pulled_back(unit, params, catalog, cotangents))
            return value, tree_sum(grads) + direct

        whole, split = PartitionSpec(), PartitionSpec("samples")
        return jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(whole, whole, whole, split),
            out_specs=whole,
            # Every collective is an explicit one of ``_reduce``; nothing is differentiated
            # through the map, which is where the check would matter.
            check_vma=False,
        )(params, key, shared, catalog)

    def place(self, shared: Any) -> Any:
        """Put arrays whole on each device."""
        return jax.device_put(shared, replicated(self.mesh))

    def _table(self, unit: UnitSums, params: jax.Array, catalog: Any) -> jax.Array:
        """Sums of the units of this device, (blocks, kernel blocks, sums)."""

        def of_unit(block, kernel_block, columns):
            return ravel_pytree(unit(params, block, columns, kernel_block))[0]

        return self._loop(of_unit, catalog)

    def _pulled_back(
        self, unit: UnitSums, params: jax.Array, catalog: Any, cotangents: jax.Array
    ) -> jax.Array:
        """Parameter gradients of the units of this device, (blocks, kernel blocks, parameters)."""

        def of_unit(block, kernel_block, columns):
            def flat(p):
                return ravel_pytree(unit(p, block, columns, kernel_block))[0]

            _, pull = jax.vjp(flat, params)
            return pull(cotangents[kernel_block])[0]

        return self._loop(of_unit, catalog)

    def _loop(self, of_unit: Callable, catalog: Any) -> jax.Array:
        blocks = self.layout.per_device(self.mesh)
        kernel_blocks = self.kernel_blocks // self.mesh.shape["kernels"]
        first = lax.axis_index("samples") * blocks
        first_kernel = lax.axis_index("kernels") * kernel_blocks
        mine = jnp.clip(self.layout.count - first, 0, blocks)

        # A loop over a single unit reads and stores without an index and would be compiled to
        # other instructions, with other rounding, than on fewer devices: give it a second one.
        rows = max(blocks * kernel_blocks, 2)
        catalog = jax.tree.map(lambda a: jnp.concatenate([a, a]) if blocks == 1 else a, catalog)
        catalog = lax.optimization_barrier(catalog)

        def at(i: jax.Array) -> jax.Array:
            block, kernel_block = i // kernel_blocks, i % kernel_blocks
            columns = jax.tree.map(lambda a: a[block], catalog)
            return of_unit(first + block, first_kernel + kernel_block, columns)

        shape = jax.eval_shape(at, jnp.int32(0))
        table = jnp.zeros((rows, *shape.shape), shape.dtype)
        table = lax.fori_loop(0, mine * kernel_blocks, lambda i, t: t.at[i].set(at(i)), table)
        table = table[: blocks * kernel_blocks]
        return table.reshape(blocks, kernel_blocks, *shape.shape)

    def _reduce(self, table: jax.Array) -> jax.Array:
        """Add (blocks, kernel blocks, ...) over blocks and devices, to (all kernel blocks, ...)."""
        if self.reproducible:
            table = lax.all_gather(table, "samples", axis=0, tiled=True)
            total = tree_sum(lax.optimization_barrier(table)[: self.layout.count])
        else:
            total = lax.psum(tree_sum(table), "samples")
        return lax.all_gather(total, "kernels", axis=0, tiled=True)


def _unravel(unit: UnitSums, params: jax.Array, catalog: Any) -> Callable[[jax.Array], Any]:
    """The function from (kernel blocks, sums) to the pytree of the sums of each kernel block."""
    block = jax.tree.map(lambda a: a[0], catalog)
    shapes = jax.eval_shape(unit, params, jnp.int32(0), block, jnp.int32(0))
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return jax.vmap(ravel_pytree(zeros)[1])
