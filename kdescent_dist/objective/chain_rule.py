"""The chain rule at the sums: a loss of sums over blocks of samples, and its gradient.

Blocks of samples are the units of work. Their number and size do not depend on the mesh. A step
adds up the sums of all blocks over the mesh, differentiates the loss with respect to the sums, and
pulls the cotangents back through each block. No derivative passes through a collective. Each
direction has one collective. On CPUs, one block at a time is in work (``one_by_one``); on GPUs,
many blocks are (``side_by_side``).

The ``reproducible`` reduction adds the sums along one binary tree over all blocks, which is the
same for any mesh. A node of the tree is the sum of an aligned power of two of blocks. Each device
computes its few nodes, then one collective gathers all nodes. To get the same bits with and without
a collective, fusion is prevented: on CPUs, loop lengths are run-time values, and values that pass
from one step to the next are written to memory (``reductions.materialize``); on GPUs, such values
pass through a barrier.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from kdescent_dist.distributed.mesh import AXES, dealt, platform_of, whole
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.numerics.hessians import with_derivatives
from kdescent_dist.numerics.reductions import materialize, tree_sum
from kdescent_dist.objective.one_by_one import OneByOne
from kdescent_dist.objective.side_by_side import SideBySide
from kdescent_dist.objective.units import Units, UnitSums, traced

# loss(params, sums of each kernel block, stacked along a leading axis) -> scalar
SumsLoss = Callable[[jax.Array, Any], jax.Array]
# (shared, at) -> the sums of one unit, and a linear function of the stacked sums
MakeTotals = Callable[[Any, Any], tuple[UnitSums, Callable[[Any], Any]]]
SumsData = tuple[Any, Any, Any, jax.Array]  # at, shared, catalog, shares

DEFAULT_MEMORY = 4e9


@dataclass(frozen=True)
class ChainRule:
    """Evaluates a loss of block sums and its gradient over a mesh.

    Attributes:
        layout: the blocks of samples.
        mesh: mesh with axes ``samples`` and ``kernels``.
        kernel_blocks: number of blocks of kernels, a multiple of the size of the axis ``kernels``.
        reproducible: whether to gather the sums and add them along a fixed tree; else ``psum``.
        side_by_side: whether a device evaluates many blocks at once, see ``side_by_side``; by
            default on all but CPUs.
        memory: bytes for what the gradient needs of the blocks that are evaluated at once.
        most: most blocks that are evaluated at once, by default as many as ``memory`` holds.
    """

    layout: SampleBlocks
    mesh: Mesh
    kernel_blocks: int
    reproducible: bool
    side_by_side: bool | None = None
    memory: float = DEFAULT_MEMORY
    most: int | None = None

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
            flat, vector, unravel = traced(unit, params, catalog)
            first, number, one = shares[0]
            share = (first, number)
            table, pull = self.units.sums_and_pullback(flat, vector, params, catalog, share)
            value, (direct, cotangents) = jax.value_and_grad(
                lambda p, sums: loss(p, jax.vmap(unravel)(sums)), argnums=(0, 1)
            )(params, self._stored(self._reduce(table), one))
            grads = self._reduce(pull(self._stored(cotangents, one)))
            return self._stored((value, tree_sum(grads) + direct), one)

        return self.on_mesh(local, params, *data)

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
            flat, vector, unravel = traced(unit, params, catalog)
            first, number, one = shares[0]
            share = (first, number)
            sums = self._reduce(self.units.sums(flat, vector, params, catalog, share))
            return totals(jax.vmap(unravel)(self._stored(sums, one)))

        return self.on_mesh(local, params, *data)

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
            flat, vector, unravel = traced(unit, params, catalog)
            first, number, one = shares[0]
            share = (first, number)
            everywhere = jnp.zeros((self.kernel_blocks, *vector.shape), vector.dtype)
            _, pull = jax.vjp(lambda sums: totals(jax.vmap(unravel)(sums)), everywhere)
            cotangents = self._stored(pull(given)[0], one)
            grads = self.units.pulled_back(flat, params, catalog, share, cotangents)
            return tree_sum(self._reduce(grads))

        at, *rest = data
        return self.on_mesh(local, params, (cotangent, at), *rest)

    def on_mesh(self, local: Callable, params: Any, *data: Any) -> Any:
        """Call ``local`` on each device, with ``params`` and ``data`` as in ``totals``."""
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

    @property
    def units(self) -> Units:
        """What evaluates the units of a device."""
        grid = self.layout, self.mesh, self.kernel_blocks
        if not self.evaluates_many:
            return OneByOne(*grid)
        return SideBySide(*grid, self.memory, self.most)

    @property
    def evaluates_many(self) -> bool:
        """Whether a device evaluates many blocks at once."""
        known = self.side_by_side
        return platform_of(self.mesh) != "cpu" if known is None else known

    def _stored(self, values: Any, one: jax.Array) -> Any:
        """The same values, between two passes over the samples.

        On GPUs, a barrier is left until after fusion, and costs no loop.
        """
        if self.evaluates_many:
            return lax.optimization_barrier(values)
        return materialize(values, one)

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
