"""Blocks of samples, the units of work; their number follows from the config alone."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kdescent_dist.distributed.mesh import by_samples

DEFAULT_BLOCKS = 8
LARGEST_DEFAULT_BLOCK = 65_536
MOST_UNEVEN = 1.05  # most blocks of a device, relative to an even share


@dataclass(frozen=True)
class SampleBlocks:
    """How ``size`` samples are cut into ``count`` blocks of ``block_size``, the last one short."""

    size: int
    block_size: int

    @classmethod
    def of(cls, size: int, block_size: int | None = None) -> "SampleBlocks":
        """By default at least 8 blocks, of at most 65,536 samples."""
        if block_size is None:
            block_size = min(math.ceil(size / DEFAULT_BLOCKS), LARGEST_DEFAULT_BLOCK)
        return cls(size, min(block_size, size))

    @property
    def count(self) -> int:
        return math.ceil(self.size / self.block_size)

    def node(self, mesh: Mesh) -> int:
        """Blocks per node of the sum tree: one device adds the blocks of a node.

        The result is the largest power of two that leaves the devices idle for at most a few
        percent of the time.
        """
        share = math.ceil(self.count / mesh.shape["samples"])
        powers = [2**level for level in range(share.bit_length() + 1)]
        return max(p for p in powers if math.ceil(share / p) * p <= MOST_UNEVEN * share)

    def per_device(self, mesh: Mesh) -> int:
        """Most blocks of a device: a whole number of nodes."""
        share, node = math.ceil(self.count / mesh.shape["samples"]), self.node(mesh)
        return math.ceil(share / node) * node

    def rows(self, mesh: Mesh) -> tuple[int, int]:
        """First row and last row (excluded) of the blocks of this process's devices."""
        here = [
            place
            for place, devices in enumerate(mesh.devices)
            if any(d.process_index == jax.process_index() for d in devices)
        ]
        share = self.per_device(mesh) * self.block_size
        # Processes beyond the last sample get a copy of it, so that no array is empty.
        first = min(here[0] * share, self.size - 1)
        return first, max(min((here[-1] + 1) * share, self.size), first + 1)

    def cut(self, column: np.ndarray, mesh: Mesh, first: int = 0) -> jax.Array:
        """Cut a column (size,) into (blocks, block_size), sharded over the samples axis.

        Copies of the last row pad the last blocks; ``mask`` drops the copies.

        Args:
            column: all rows, or at least the rows that ``rows`` returns.
            mesh: mesh with an axis ``samples``.
            first: number of the first row of ``column``.
        """
        blocks = self.per_device(mesh) * mesh.shape["samples"]

        def of(index: Any) -> np.ndarray:
            begin, end, _ = index[0].indices(blocks)
            rows = column[begin * self.block_size - first : end * self.block_size - first]
            fill = (end - begin) * self.block_size - len(rows)
            if fill:
                rows = np.concatenate([rows, np.full(fill, column[-1])])
            return rows.reshape(-1, self.block_size)

        return jax.make_array_from_callback((blocks, self.block_size), by_samples(mesh), of)

    def mask(self, block: jax.Array | int, copies: int) -> jax.Array:
        """Which samples of a block are not padding, repeated ``copies`` times."""
        real = jnp.arange(self.block_size) < self.size - block * self.block_size
        return jnp.tile(real, copies)
