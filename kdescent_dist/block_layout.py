"""Samples in blocks, the unit of work: how many there are follows from the config alone."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kdescent_dist.mesh import dealt

DEFAULT_BLOCKS = 8
LARGEST_DEFAULT_BLOCK = 65_536
MOST_UNEVEN = 1.05  # blocks of a device, relative to an even share


@dataclass(frozen=True)
class BlockLayout:
    """How ``size`` samples are cut into ``count`` blocks of ``block_size``, the last one short."""

    size: int
    block_size: int

    @classmethod
    def of(cls, size: int, block_size: int | None = None) -> "BlockLayout":
        """By default at least 8 blocks, of at most 65,536 samples."""
        if block_size is None:
            block_size = min(math.ceil(size / DEFAULT_BLOCKS), LARGEST_DEFAULT_BLOCK)
        return cls(size, min(block_size, size))

    @property
    def count(self) -> int:
        return math.ceil(self.size / self.block_size)

    def node(self, mesh: Mesh) -> int:
        """Blocks of one node: a power of two of them, whose sums are added up on one device.

        The largest one that leaves no more than a few percent of the devices' time unused.
        """
        share = math.ceil(self.count / mesh.shape["samples"])
        powers = [2**level for level in range(share.bit_length() + 1)]
        return max(p for p in powers if math.ceil(share / p) * p <= MOST_UNEVEN * share)

    def per_device(self, mesh: Mesh) -> int:
        """Blocks of a device at most: a whole number of nodes."""
        share, node = math.ceil(self.count / mesh.shape["samples"]), self.node(mesh)
        return math.ceil(share / node) * node

    def cut(self, column: np.ndarray, mesh: Mesh) -> jax.Array:
        """Cut a column (size,) into (blocks, block_size), sharded over the samples axis.

        The last row is repeated to fill up the last blocks, where its weight is 0.
        """
        rows = self.per_device(mesh) * mesh.shape["samples"] * self.block_size
        padded = np.pad(column, (0, rows - self.size), mode="edge")
        return dealt(padded.reshape(-1, self.block_size), mesh)

    def mask(self, block: jax.Array | int, copies: int) -> jax.Array:
        """Whether each of ``copies`` concatenated copies of a block's samples is a real one."""
        real = jnp.arange(self.block_size) < self.size - block * self.block_size
        return jnp.tile(real, copies)
