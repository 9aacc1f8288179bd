"""Selects the rows of a process, in its share of the chunks of a table."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from kdescent_dist.catalogs.chunks import Chunks, widths_of
from kdescent_dist.catalogs.column_statistics import ColumnRanges, moments
from kdescent_dist.catalogs.readers import Columns, Table
from kdescent_dist.catalogs.row_buffer import RowBuffer
from kdescent_dist.catalogs.scratch import Scratch
from kdescent_dist.catalogs.subsample import Numbering
from kdescent_dist.catalogs.threads import work_through

Place = list[np.ndarray] | None
InTurn = Callable[[Callable[[], Place]], Place]


class SelectedPart:
    """The selected rows of a process, as many as memory allows, and their statistics.

    Attributes:
        buffer: the selected rows of the first chunks, as many chunks as fit.
        held: first and last (excluded) chunk of the rows in the buffer.
        kept: (chunks,) number of selected rows per chunk of this process, 0 for other chunks.
        tally: counts of dropped rows, see ``DropReasons``.
        ranges: ranges of the selected rows.
        moments: (chunks, 1 + 2 standardized columns), see ``column_statistics.moments``.
        widths: (read columns,) lengths of vectors, see ``chunks.widths_of``.
    """

    def __init__(
        self,
        chunks: Chunks,
        own: tuple[int, int],
        capacity: int,
        dtype: np.dtype,
        standardize: Sequence[str],
    ) -> None:
        """Prepare to select.

        Args:
            chunks: chunks of the table.
            own: first and last (excluded) chunk of this process.
            capacity: most rows to hold in memory.
            dtype: type of the rows in memory.
            standardize: names of the columns whose moments are needed.
        """
        selection = chunks.selection
        self._chunks, self._own, self._dtype = chunks, own, dtype
        self._standardize = standardize
        self.buffer = RowBuffer(selection.arrays, capacity, dtype)
        self.held = own[0], own[0]
        self.kept = np.zeros(len(chunks), np.int64)
        self.tally = np.zeros(selection.reasons.size, np.int64)
        self.ranges = ColumnRanges.none(len(selection.required))
        self.moments = np.zeros((len(chunks), 1 + 2 * len(standardize)))
        self.widths = np.zeros(len(chunks.columns), np.int64)
        self._scratch, self._adding_up = Scratch(), threading.Lock()

    def select(self, table: Table) -> None:
        """Read and select the chunks of this process.

        Raises:
            InputError: the table cannot be read, or an expression cannot be evaluated.
        """
        numbered = zip(range(*self._own), self._chunks.read(table, *self._own), strict=True)
        work_through(numbered, self._select_chunk)
        self.buffer.trim()

    def subsample(self, table: Table, numbering: Numbering) -> RowBuffer:
        """The rows of this process in the subsample; rows that are not held are read again.

        Args:
            table: the table passed to ``select``.
            numbering: which of the selected rows are in the catalog.

        Raises:
            InputError: the table cannot be read.
        """
        (first, last), begun, offsets = self._own, self.held[1], numbering.offsets
        size = int(offsets[last] - offsets[first])
        buffer = RowBuffer(len(self.buffer.arrays), size, self._dtype)
        rows = numbering.of_chunks(first, begun)
        buffer.add([values[rows] for values in self.buffer.arrays])
        for c in range(begun, last):
            if offsets[c] < offsets[c + 1]:
                rows = numbering.of_chunks(c, c + 1)
                buffer.add([values[rows] for values in self._chunks.select(table, c)])
        return buffer

    def _select_chunk(self, item: tuple[int, Columns], in_turn: InTurn) -> None:
        c, raw = item

        def reserve(rows: int) -> Place:
            return in_turn(lambda: self._place(c, rows))

        selected = self._chunks.selection.apply(raw, self._scratch, reserve)
        if self._standardize and len(selected.arrays[0]):
            self.moments[c] = self._moments_of(selected.arrays)
        with self._adding_up:
            self.tally += selected.tally
            self.ranges |= selected.ranges
            self.widths = np.maximum(self.widths, widths_of(raw))

    def _place(self, c: int, rows: int) -> Place:
        """Space in the buffer for the selected rows of a chunk, None if there is none."""
        self.kept[c] = rows
        if self.held[1] != c or not self.buffer.has_space(rows):
            return None
        self.held = self._own[0], c + 1
        return self.buffer.reserve(rows)

    def _moments_of(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        # In the precision of the catalog: columns may have been derived in another precision.
        arrays = [values.astype(self._dtype, copy=False) for values in arrays]
        selection = self._chunks.selection
        columns = dict(zip(selection.required, arrays, strict=False))
        weights = arrays[-1] if selection.weighted else None
        return moments([columns[name] for name in self._standardize], weights)
