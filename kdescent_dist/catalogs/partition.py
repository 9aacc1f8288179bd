"""The rows of a catalog; each process holds a part of the rows and can read all other rows."""

from dataclasses import dataclass, field

import numpy as np

from kdescent_dist.catalogs.chunks import Chunks
from kdescent_dist.catalogs.column_statistics import Scale
from kdescent_dist.catalogs.row_buffer import RowBuffer
from kdescent_dist.catalogs.subsample import Numbering
from kdescent_dist.config.errors import InputError


@dataclass(frozen=True)
class Catalog:
    """Columns of equal length, all finite, with weights.

    Attributes:
        columns: names to (n,) arrays of the type passed to ``open_catalog``.
        weights: (n,) non-negative weights, of the same type.
        dropped: number of dropped rows by reason.
        source: name of the table.
    """

    columns: dict[str, np.ndarray]
    weights: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    source: str = ""

    def __len__(self) -> int:
        return len(self.weights)


Numbers = range | np.ndarray


class Partition:
    """The selected rows of a table, numbered over the whole table in the order of the file.

    Each process holds rows of its share of the file, and reads other rows on request.

    Attributes:
        total: number of rows of the whole catalog.
        dropped: number of dropped rows of the whole file by reason.
        source: name of the table.
        scales: mean and standard deviation of the standardized columns, by name.
    """

    def __init__(
        self,
        chunks: Chunks,
        numbering: Numbering,
        buffer: RowBuffer,
        held: tuple[int, int],
        scales: dict[str, Scale],
        dropped: dict[str, int],
    ) -> None:
        """Use ``catalog.open_catalog``.

        Args:
            chunks: chunks of the table.
            numbering: which rows of each chunk are in the catalog.
            buffer: the rows that this process holds.
            held: first and last (excluded) chunk of the rows in the buffer.
            scales: see the attributes.
            dropped: see the attributes.
        """
        self.total, self.source = numbering.total, chunks.name
        self.dropped, self.scales = dropped, scales
        self._chunks, self._numbering = chunks, numbering
        self._buffer, self._held = buffer, held

    def rows(
        self,
        first: int = 0,
        last: int | None = None,
        *,
        chosen: np.ndarray | None = None,
        release: bool = False,
    ) -> Catalog:
        """Rows ``first`` to ``last`` (excluded) of the catalog, by default all rows.

        Rows that this process does not hold are read. The arrays may share memory with the arrays
        of another call: do not change them.

        Args:
            first: number of the first row.
            last: number of the last row (excluded); by default the number of rows.
            chosen: ascending row numbers; if given, return rows ``chosen[first:last]``.
            release: free the held rows while they are copied, in the last call.

        Raises:
            InputError: there are no such rows, or the file cannot be read.
        """
        size = self.total if chosen is None else len(chosen)
        last = size if last is None else last
        if not 0 <= first <= last <= size:
            raise InputError(f"{self._chunks.key}: there are no rows {first} to {last} of {size}")
        wanted = range(first, last) if chosen is None else chosen[first:last]
        offsets = self._numbering.offsets
        places = np.searchsorted(wanted, offsets) if chosen is not None else offsets - first
        places = np.clip(places, 0, last - first)  # of the chunks in the returned arrays
        held = self._held
        if release:
            self._held = held[0], held[0]
        arrays = self._from_buffer(wanted, places, held, release)
        self._read_others(wanted, places, held, arrays)
        selection = self._chunks.selection
        columns = dict(zip(selection.required, arrays, strict=False))
        columns |= {name: s.standardized(columns[name]) for name, s in self.scales.items()}
        # Weights that are all 1 take no memory.
        ones = np.broadcast_to(arrays[0].dtype.type(1), (last - first,))
        weights = arrays[-1] if selection.weighted else ones
        return Catalog(columns, weights, dict(self.dropped), self.source)

    def _from_buffer(
        self, wanted: Numbers, places: np.ndarray, held: tuple[int, int], release: bool
    ) -> list[np.ndarray]:
        """Arrays of the wanted rows, filled with the rows of the held chunks."""
        low, high = held
        rows = _within(wanted, places[low], places[high], self._numbering.offsets[low])
        arrays = []
        for i, held_values in enumerate(self._buffer.arrays):
            values = held_values[rows]
            if len(values) == len(wanted):
                arrays.append(values)
            else:
                arrays.append(np.empty(len(wanted), held_values.dtype))
                arrays[-1][places[low] : places[high]] = values
            if release:
                self._buffer.arrays[i] = np.empty(0, held_values.dtype)
        return arrays

    def _read_others(
        self,
        wanted: Numbers,
        places: np.ndarray,
        held: tuple[int, int],
        arrays: list[np.ndarray],
    ) -> None:
        """Fill in the wanted rows of the chunks that are not held."""
        low, high = held
        others = [c for c in np.flatnonzero(np.diff(places)).tolist() if not low <= c < high]
        if not others:
            return
        with self._chunks.source.open() as table:
            for c in others:
                of_chunk = self._numbering.of_chunks(c, c + 1)
                rows = _within(wanted, places[c], places[c + 1], self._numbering.offsets[c])
                for values, read in zip(arrays, self._chunks.select(table, c), strict=True):
                    values[places[c] : places[c + 1]] = read[of_chunk][rows]


def _within(wanted: Numbers, first: int, last: int, offset: int) -> slice | np.ndarray:
    """The rows ``wanted[first:last]``, counted from row ``offset`` of the catalog."""
    part = wanted[first:last]
    if isinstance(part, range):
        return slice(part.start - offset, part.stop - offset)
    return part - offset
