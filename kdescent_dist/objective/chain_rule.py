"""The chain rule at the sums: a loss of sums over blocks of samples, and its gradient.

Blocks of samples are the units of work. Their number and size do not depend on the mesh. A step
adds up the sums of all blocks over the mesh, differentiates the loss with respect to the sums, and
pulls the cotangents back through each block. No derivative passes through a collective. Each
direction has one collective. One block at a time is in work, which bounds the memory.

The ``reproducible`` reduction adds the sums along one binary tree over all blocks, which is the
same for any mesh. A node of the tree is the sum of an aligned power of two of blocks. Each device
computes its few nodes, then one collective gathers all nodes. To get the same bits with and without
a collective, fusion is prevented: loop lengths are run-time values, and values that pass from one
step to the next are written to memory (``reductions.materialize``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from kdescent_dist.distributed.mesh import AXES, dealt, whole
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.numerics.hessians import with_derivatives
from kdescent_dist.numerics.reductions import materialize, streamed_sum, tree_sum

# unit(params, block index, block of the catalog, kernel block index) -> pytree of sums
UnitSums = Callable[[jax.Array, jax.Array, Any, jax.Array], Any]
# The same, with the sums as one vector.
FlatSums = Callable[[jax.Array, jax.Array, Any, jax.Array], jax.Array]
# loss(params, sums of each kernel block, stacked along a leading axis) -> scalar
SumsLoss = Callable[[jax.Array, Any], jax.Array]
# (shared, at) -> the sums of one unit, and a linear function of the stacked sums
MakeTotals = Callable[[Any, Any], tuple[UnitSums, Callable[[Any], Any]]]
SumsData = tuple[Any, Any, Any, jax.Array]  # at, shared, catalog, shares


@dataclass(frozen=True)
class ChainRule:
    """Evaluates a loss of block sums and its gradient over a mesh.

    Attributes:
        layout: the blocks of samples.
        mesh: mesh with axes ``samples`` and ``kernels``.
        kernel_blocks: number of blocks of kernels, a multiple of the size of the axis ``kernels``.
        reproducible: whether to gather the sums and add them along a fixed tree; else ``psum``.
    """

    layout: SampleBlocks
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
        shares: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the loss, and its gradient (parameters,) with respect to ``params``.

        Both are differentiable in ``params``, see ``hessians.with_derivatives``.

        Args:
            make: function from (shared, key) to the sums of one unit, and the loss of all sums.
            params: (parameters,) parameters.
            key: random key of the step.
            shared: arrays of which every device holds a full copy.
            catalog: arrays (blocks, block_size) sharded over samples.
            shares: result of ``shares``.
        """
        return _value_and_grad(self, make, params, (key, shared, catalog, shares))

    def _value_and_grad(
        self, make: Callable[[Any, jax.Array], tuple[UnitSums, SumsLoss]], params: Any, data: Any
    ) -> tuple[jax.Array, jax.Array]:
        def local(params, key, shared, catalog, shares):
            unit, loss = make(shared, key)
            flat, zeros = _traced(unit, params, catalog)
            vector, unravel = ravel_pytree(zeros)
            first, number, one = shares[0]
            share = (first, number)
            sums = self._reduce(self._sums(flat, vector, params, catalog, share))
            value, (direct, cotangents) = jax.value_and_grad(
                lambda p, sums: loss(p, jax.vmap(unravel)(sums)), argnums=(0, 1)
            )(params, materialize(sums, one))
            cotangents = materialize(cotangents, one)
            grads = self._reduce(self._pulled_back(flat, params, catalog, share, cotangents))
            return materialize((value, tree_sum(grads) + direct), one)

        return self._on_mesh(local, params, *data)

    def totals(self, make: MakeTotals, params: jax.Array, data: SumsData) -> Any:
        """Return the totals of the sums.

        The sums have the same bits as in ``value_and_grad`` of the same unit.

        Args:
            make: function from (shared, at) to the sums of one unit, and the totals of all sums.
            params: (parameters,) parameters.
            data: ``at``, which ``make`` needs beside ``shared``, and ``shared``, ``catalog`` and
                ``shares`` as in ``value_and_grad``.
        """

        def local(params, at, shared, catalog, shares):
            unit, totals = make(shared, at)
            flat, zeros = _traced(unit, params, catalog)
            vector, unravel = ravel_pytree(zeros)
            first, number, one = shares[0]
            sums = self._reduce(self._sums(flat, vector, params, catalog, (first, number)))
            return totals(jax.vmap(unravel)(materialize(sums, one)))

        return self._on_mesh(local, params, *data)

    def pull_back(
        self, make: MakeTotals, params: jax.Array, data: SumsData, cotangent: Any
    ) -> jax.Array:
        """Return the gradient (parameters,) of a linear function of the totals.

        Args:
            make, params, data: as in ``totals``.
            cotangent: derivatives with respect to the totals, a pytree like the totals.
        """

        def local(params, at, shared, catalog, shares):
            given, at = at
            unit, totals = make(shared, at)
            flat, zeros = _traced(unit, params, catalog)
            vector, unravel = ravel_pytree(zeros)
            first, number, one = shares[0]
            everywhere = jnp.zeros((self.kernel_blocks, *vector.shape), vector.dtype)
            _, pull = jax.vjp(lambda sums: totals(jax.vmap(unravel)(sums)), everywhere)
            cotangents = materialize(pull(given)[0], one)
            share = (first, number)
            grads = self._reduce(self._pulled_back(flat, params, catalog, share, cotangents))
            return tree_sum(grads)

        at, *rest = data
        return self._on_mesh(local, params, (cotangent, at), *rest)

    def _on_mesh(self, local: Callable, params: Any, *data: Any) -> Any:
        everywhere, split = PartitionSpec(), PartitionSpec("samples")
        return jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(everywhere, everywhere, everywhere, split, split),
            out_specs=everywhere,
            # The check matters for reverse-mode derivatives of the map, which nothing takes. All
            # collectives are explicit, in ``_reduce``.
            check_vma=False,
        )(params, *data)

    def place(self, shared: Any) -> Any:
        """Put a full copy of arrays on each device."""
        return whole(shared, self.mesh)

    def shares(self) -> jax.Array:
        """Per device: first block, number of blocks, and the run-time 1 of ``materialize``.

        The shape is (devices, 3), sharded over samples.
        """
        blocks, devices = self.layout.per_device(self.mesh), self.mesh.shape["samples"]
        first = np.minimum(np.arange(devices) * blocks, self.layout.count)
        number = np.minimum(self.layout.count - first, blocks)
        table = np.stack([first, number, np.ones_like(first)], axis=1).astype(np.int32)
        return dealt(table, self.mesh)

    def _sums(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Any
    ) -> jax.Array:
        """Sums (nodes, kernel blocks, sums) of the nodes of this device."""

        def of_unit(block, kernel_block, columns):
            return flat(params, block, columns, kernel_block)

        return self._loop(of_unit, like, catalog, share)

    def _pulled_back(
        self, flat: FlatSums, params: jax.Array, catalog: Any, share: Any, cotangents: jax.Array
    ) -> jax.Array:
        """Gradients (nodes, kernel blocks, parameters) of the nodes of this device."""

        def of_unit(block, kernel_block, columns):
            _, pull = jax.vjp(lambda p: flat(p, block, columns, kernel_block), params)
            return pull(cotangents[kernel_block])[0]

        return self._loop(of_unit, params, catalog, share)

    def _loop(self, of_unit: Callable, like: Any, catalog: Any, share: Any) -> jax.Array:
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

    def _reduce(self, table: jax.Array) -> jax.Array:
        """Add (nodes, kernel blocks, ...) over nodes and devices, to (all kernel blocks, ...)."""
        devices, mine = self.mesh.shape, table.shape[1]
        if not self.reproducible:
            total = jnp.zeros((devices["kernels"], *table.shape[1:]), table.dtype)
            total = total.at[lax.axis_index("kernels")].set(tree_sum(table))
            return lax.psum(total, AXES).reshape(self.kernel_blocks, *table.shape[2:])
        table = lax.all_gather(table, AXES)
        table = table.reshape(devices["samples"], devices["kernels"], *table.shape[-3:])
        table = jnp.moveaxis(table, 1, 2)  # samples, nodes, kernels, kernel blocks, ...
        table = table.reshape(-1, devices["kernels"] * mine, *table.shape[4:])
        return tree_sum(table)


# Outside of the class, where the function would become a method.
_value_and_grad = with_derivatives(ChainRule._value_and_grad, static=2)


def _traced(unit: UnitSums, params: jax.Array, catalog: Any) -> tuple[FlatSums, Any]:
    """Return a unit's sums as one vector, and zeros in the shape of its pytree.

    The Python code of the unit is traced once. The sums and their derivatives then follow from the
    jaxpr.
    """
    block = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), catalog)
    index = jax.ShapeDtypeStruct((), jnp.int32)
    traced, shapes = jax.make_jaxpr(unit, return_shape=True)(params, index, block, index)
    evaluate = jaxpr_as_fun(traced)

    def flat(*arguments: Any) -> jax.Array:
        return ravel_pytree(evaluate(*jax.tree.leaves(arguments)))[0]

    return flat, jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
