"""Which rows of a catalog each of several processes holds: whole blocks of them, in their order.

What is computed of a block does not depend on who holds it, and is added up exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kdescent_dist.distributed.processes import Processes
from kdescent_dist.identity.digests import block_digests, combined
from kdescent_dist.numerics.exact_sums import exact_total

BLOCK_SIZE = 1 << 18


@dataclass(frozen=True)
class RowBlocks:
    """The blocks of rows of a catalog, and those that this process holds.

    Attributes:
        total: rows of the whole catalog.
        block_size: rows of a block; the last one may be short.
        processes: who holds them, each as many as the others or one less.
    """

    total: int
    block_size: int = BLOCK_SIZE
    processes: Processes = field(default_factory=lambda: Processes(()))

    @property
    def count(self) -> int:
        """Blocks of all processes, at least 1."""
        return max(-(-self.total // self.block_size), 1)

    @property
    def own(self) -> tuple[int, int]:
        """First and last (excluded) of the blocks of this process."""
        return self.processes.share(self.count)

    @property
    def rows(self) -> tuple[int, int]:
        """First and last (excluded) of the rows of this process."""
        first, last = (min(b * self.block_size, self.total) for b in self.own)
        return first, last

    @property
    def slices(self) -> list[slice]:
        """The blocks of this process, in arrays of its rows."""
        first, last = self.rows
        edges = range(0, max(last - first, 1), self.block_size)
        return [slice(a, a + self.block_size) for a in edges][: self.own[1] - self.own[0]]

    def added_up(self, number: int) -> int:
        """The sum of a number over all processes."""
        return int(self.processes.added(np.array([number], np.int64))[0])

    def sum(self, values: np.ndarray) -> float:
        """The sum over all rows of values, (n,) for those of this process."""
        parts = [np.sum(values[rows], dtype=float) for rows in self.slices]
        return float(exact_total(parts, (), self.count, self.processes))

    def largest(self, values: np.ndarray) -> float:
        """The largest of values at least 0 of all rows, (n,) for those of this process."""
        return float(self.processes.exchange(np.float64(np.max(values, initial=0.0))).max())

    def pick(self, columns: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of columns, by their ascending numbers (m,) in the whole catalog, in every process.

        Args:
            columns: those of the rows of this process, each (n,).
            rows: which rows, the same in every process.
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
        """SHA-256 of all rows of columns, each (n,) for those of this process."""
        digests = np.zeros((self.count, 32), np.uint8)
        first, last = self.own
        digests[first:last] = block_digests(columns, self.block_size)[: last - first]
        return combined(self.processes.merged(digests))
