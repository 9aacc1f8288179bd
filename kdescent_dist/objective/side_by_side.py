"""The units of a device, side by side: the form for GPUs.

A GPU is filled by many blocks at once, and each launch of a kernel costs time. So one array
operation serves a piece of many blocks. What the gradient needs of the blocks is kept where it
fits into a memory budget; else each piece is computed again.

The rows of a piece are the blocks: the same code computes each row, whatever the number of rows, as
long as XLA does not choose another algorithm for another number. ``alike`` checks this.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh

from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.objective.units import FlatSums, PullBack, Share, unit_shapes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SideBySide:
    """Evaluates pieces of many units at once, see ``Units``.

    Attributes:
        layout: the blocks of samples.
        mesh: mesh with axes ``samples`` and ``kernels``.
        kernel_blocks: number of blocks of kernels on all devices.
        memory: bytes for what the gradient needs of the blocks of a piece.
        most: most blocks of a piece, None for no limit but the memory.
    """

    layout: SampleBlocks
    mesh: Mesh
    kernel_blocks: int
    memory: float
    most: int | None = None

    def sums(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Share
    ) -> jax.Array:
        piece = self._piece(self._bytes(flat, params, catalog))
        return self._sums(flat, piece, params, catalog, share)

    def pulled_back(
        self, flat: FlatSums, params: jax.Array, catalog: Any, share: Share, cotangents: jax.Array
    ) -> jax.Array:
        piece = self._piece(self._bytes(flat, params, catalog))
        return self._pulled_back(flat, piece, params, catalog, share, cotangents)

    def sums_and_pullback(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Share
    ) -> tuple[jax.Array, PullBack]:
        of_block = self._bytes(flat, params, catalog)
        piece, kept = self._piece(of_block), self._is_kept(of_block)
        blocks = self.layout.per_device(self.mesh)
        log.info(
            "samples: %d blocks of %d on a device, %d at once; each takes %.3g MB, which are %s",
            *(blocks, self.layout.block_size, piece, of_block / 1e6),
            "kept for the gradient" if kept else "computed again for the gradient",
        )
        if not kept:

            def again(cotangents: jax.Array) -> jax.Array:
                return self._pulled_back(flat, piece, params, catalog, share, cotangents)

            return self._sums(flat, piece, params, catalog, share), again

        def of_all(rows: jax.Array) -> jax.Array:
            return self._in_pieces(partial(self._forward, flat), piece, rows, catalog, share)

        rows, pull = jax.vjp(of_all, self._of_each(params))

        def pull_back(cotangents: jax.Array) -> jax.Array:
            return self._added(pull(self._of_rows(cotangents, blocks))[0], share)

        return self._added(rows, share), pull_back

    def _sums(
        self, flat: FlatSums, piece: int, params: jax.Array, catalog: Any, share: Share
    ) -> jax.Array:
        rows = self._of_each(params)
        rows = self._in_pieces(partial(self._forward, flat), piece, rows, catalog, share)
        return self._added(rows, share)

    def _pulled_back(
        self,
        flat: FlatSums,
        piece: int,
        params: jax.Array,
        catalog: Any,
        share: Share,
        cotangents: jax.Array,
    ) -> jax.Array:
        def of_piece(params: jax.Array, blocks: jax.Array, columns: Any) -> jax.Array:
            _, pull = jax.vjp(lambda p: self._forward(flat, p, blocks, columns), params)
            return pull(self._of_rows(cotangents, len(blocks)))[0]

        rows = self._in_pieces(of_piece, piece, self._of_each(params), catalog, share)
        return self._added(rows, share)

    def _bytes(self, flat: FlatSums, params: jax.Array, catalog: Any) -> int:
        """Memory for what the gradient needs of a block at all blocks of kernels of a device."""
        block, index = unit_shapes(catalog)

        def pull(params: Any, *unit: Any) -> Any:
            return jax.vjp(lambda p: flat(p, *unit), params)[1]

        needed = jax.tree.leaves(jax.eval_shape(pull, params, index, block, index))
        kernel_blocks = self.kernel_blocks // self.mesh.shape["kernels"]
        return kernel_blocks * sum(math.prod(a.shape) * a.dtype.itemsize for a in needed)

    def _is_kept(self, of_block: int) -> bool:
        """Whether all blocks of all devices fit, so that the answer is the same on any mesh."""
        return of_block * self.layout.count <= self.memory

    def _piece(self, of_block: int) -> int:
        """The number of blocks at once: a power of two that divides a node, or whole nodes."""
        most = max(int(self.memory) // max(of_block, 1), 1)
        most = min(most, self.most) if self.most else most
        blocks, node = self.layout.per_device(self.mesh), self.layout.node(self.mesh)
        if blocks <= most:
            return blocks
        if node <= most:
            nodes, in_piece = blocks // node, most // node
            return node * math.ceil(nodes / math.ceil(nodes / in_piece))
        return 1 << (most.bit_length() - 1)

    @property
    def _kernels(self) -> jax.Array:
        """Indices of the blocks of kernels of this device."""
        number = self.kernel_blocks // self.mesh.shape["kernels"]
        return lax.axis_index("kernels") * number + jnp.arange(number, dtype=jnp.int32)

    def _of_each(self, params: jax.Array) -> jax.Array:
        """Parameters (blocks, kernel blocks, parameters), so that each unit has a gradient."""
        units = self.layout.per_device(self.mesh), len(self._kernels)
        return jnp.broadcast_to(params, (*units, *params.shape))

    def _of_rows(self, table: jax.Array, blocks: int) -> jax.Array:
        """Copies (blocks, kernel blocks of this device, ...) of (all kernel blocks, ...)."""
        mine = table[self._kernels]
        return jnp.broadcast_to(mine, (blocks, *mine.shape))

    def _forward(
        self, flat: FlatSums, params: jax.Array, blocks: jax.Array, columns: Any
    ) -> jax.Array:
        """Sums (blocks, kernel blocks, sums) of some blocks of this device.

        Args:
            flat: the sums of a unit.
            params: (blocks, kernel blocks, parameters) parameters.
            blocks: (blocks,) indices.
            columns: the blocks of the input catalog.
        """

        def of_block(params: jax.Array, block: jax.Array, columns: Any) -> jax.Array:
            return jax.vmap(flat, (0, None, None, 0))(params, block, columns, self._kernels)

        return jax.vmap(of_block)(params, blocks, columns)

    def _in_pieces(
        self, of_piece: Callable, piece: int, params: jax.Array, catalog: Any, share: Share
    ) -> jax.Array:
        """Results (blocks, kernel blocks, ...) of ``of_piece``, of pieces one after the other.

        Args:
            of_piece: function of arguments as those of ``_forward``.
            piece: see ``_piece``.
            params: (blocks, kernel blocks, parameters) parameters.
            catalog, share: see ``Units``.
        """
        first, _ = share
        blocks = self.layout.per_device(self.mesh)
        given = params, first + jnp.arange(blocks, dtype=jnp.int32), catalog
        if piece == blocks:
            return of_piece(*given)
        whole = blocks // piece * piece
        cut = jax.tree.map(lambda a: a[:whole].reshape(-1, piece, *a.shape[1:]), given)
        found = lax.map(lambda one: of_piece(*one), cut)
        found = found.reshape(whole, *found.shape[2:])
        if whole == blocks:
            return found
        last = of_piece(*jax.tree.map(lambda a: a[whole:], given))
        return jnp.concatenate([found, last])

    def _added(self, rows: jax.Array, share: Share) -> jax.Array:
        """Add rows (blocks, kernel blocks, ...) up in each node, without blocks that are not."""
        _, number = share
        node = self.layout.node(self.mesh)
        real = jnp.arange(len(rows), dtype=jnp.int32) < number
        rows = jnp.where(real.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0)
        return tree_sum(rows.reshape(-1, node, *rows.shape[1:]).swapaxes(0, 1))
