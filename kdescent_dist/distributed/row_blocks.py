"""The rows of a catalog, shared between processes in whole, consecutive blocks.

The result of a block does not depend on the process that holds the block, and the sums over blocks
are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdescent_dist.distributed.processes import Processes
from kdescent_dist.identity.digests import block_digests, combined
from kdescent_dist.numerics.exact_sums import exact_total

BLOCK_SIZE = 1 << 18


@dataclass(frozen=True)
class RowBlocks:
    """The blocks of rows of a catalog, and the share of this process.

    Attributes:
        total: number of rows of the whole catalog.
        block_size: number of rows of a block; the last block may be shorter.
        processes: the processes that share the blocks, see ``Processes.share``.
    """

    total: int
    block_size: int = BLOCK_SIZE
    processes: Processes = field(default_factory=lambda: Processes(()))

    @property
    def count(self) -> int:
        """Number of blocks of all processes, at least 1."""
        return max(-(-self.total // self.block_size), 1)

    @property
    def own(self) -> tuple[int, int]:
        """First and last (excluded) block of this process."""
        return self.processes.share(self.count)

    @property
    def rows(self) -> tuple[int, int]:
        """First and last (excluded) row of this process."""
        first, last = (min(b * self.block_size, self.total) for b in self.own)
        return first, last

    @property
    def slices(self) -> list[slice]:
        """Slices of the blocks of this process, in arrays of this process's rows."""
        first, last = self.rows
        edges = range(0, max(last - first, 1), self.block_size)
        return [slice(a, a + self.block_size) for a in edges][: self.own[1] - self.own[0]]

    def added_up(self, number: int) -> int:
        """The sum of a number over all processes."""
        return int(self.processes.added(np.array([number], np.int64))[0])

    def sum(self, values: np.ndarray) -> float:
        """The sum over all rows; ``values`` (n,) are the rows of this process."""
        parts = [np.sum(values[rows], dtype=float) for rows in self.slices]
        return float(self.total_of(parts, ()))

    def total_of(self, parts: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
        """The sum over all blocks; ``parts``, each of ``shape``, are those of this process."""
        return exact_total(parts, shape, self.count, self.processes)

    def largest(self, values: np.ndarray) -> float:
        """The maximum over all rows, at least 0; ``values`` (n,) are the rows of this process."""
        return float(self.processes.exchange(np.float64(np.max(values, initial=0.0))).max())

    def pick(self, columns: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        """Pick rows of the whole catalog; every process gets the picked rows, (m,) per column.

        Args:
            columns: columns of the rows of this process, each (n,).
            rows: (m,) ascending row numbers, the same in every process.
        """
        first, last = self.rows
        low, high = np.searchsorted(rows, [first, last])
        picked = {}
        for name, values in columns.items():
            table = np.zeros(len(rows), values.dtype)
            table[low:high] = values[rows[low:high] - first]
            picked[name] = self.processes.merged(table)
        return picked

    def digest(self, columns: Mapping[str, np.ndarray]) -> str:
        """SHA-256 of all rows; ``columns``, each (n,), are the rows of this process."""
        digests = np.zeros((self.count, 32), np.uint8)
        first, last = self.own
        digests[first:last] = block_digests(columns, self.block_size)[: last - first]
        return combined(self.processes.merged(digests))
