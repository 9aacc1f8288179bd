"""The selected rows of a table, of which each of several processes reads and holds a part."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from kdescent_dist.catalogs.column_statistics import (
    CHUNK_ROWS,
    ColumnRanges,
    Scale,
    check_names,
    moments,
    scales,
)
from kdescent_dist.catalogs.held_rows import HeldRows
from kdescent_dist.catalogs.plan import make_plan
from kdescent_dist.catalogs.readers import Columns, Table
from kdescent_dist.catalogs.selection import Selection
from kdescent_dist.catalogs.sources import find_source
from kdescent_dist.catalogs.threads import Scratch, work_through
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.distributed.processes import Processes

LARGEST_CHUNK = 1 << 18  # rows: threads that take turns too often wait for each other
SMALLEST_CHUNK = 1 << 12
CHUNKS_OF_PROCESS = 16  # so that few rows are read twice where two shares meet
HELD_BYTES = 1 << 30  # of rows of which a subsample is to be drawn


def _random(rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(rows, size, replace=False))


def _stride(rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(rows))
    return (np.arange(size) * rows + start) // size


SUBSAMPLES: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "random": _random,
    "stride": _stride,
}


class SelectedRows:
    """Rows in the order of the file, numbered over all of it, of which a process holds some.

    The table is cut into chunks of rows, and each process selects rows in a contiguous share of
    them, one chunk at a time. Counts are exchanged; rows never are.

    Attributes:
        total: selected rows of all processes.
        dropped: rows that were left out, counted by the reason.
        source: name of the table.
        scales: of the columns that are standardized, by name.
    """

    def __init__(
        self,
        config: CatalogConfig,
        required: Sequence[str],
        key: str,
        *,
        seed: int,
        processes: Processes,
        chunk_rows: int | None,
        held_bytes: int | None,
        dtype: Any,
        exact: Sequence[str],
    ) -> None:
        """Select; the arguments are those of ``catalog.open_catalog``."""
        self._config, self._key, self._processes = config, key, processes
        self._dtype, self._exact = np.dtype(dtype), exact
        with ExitStack() as opened:
            table = processes.together(lambda: self._open(required, opened))
            rows = self._agreed_rows()
            default = CHUNK_ROWS if config.standardize else _chunk_rows(rows, processes.count)
            step = chunk_rows or default
            # Of the chunks, in the table and in the selected rows.
            self._starts: np.ndarray = np.append(np.arange(0, rows, step), rows)
            self._offsets: np.ndarray = np.zeros_like(self._starts)
            self._own = processes.share(len(self._starts) - 1)
            self._moments = np.zeros((len(self._starts) - 1, 1 + 2 * len(config.standardize)))
            ranges = self._select(table, held_bytes)
            self._subsample: np.ndarray | None = None
            if config.subsample is not None:
                ranges = self._draw(table, config.subsample, seed)
        self.total = int(self._offsets[-1])
        ranges.of_all(processes).check(required, self.total, key)
        self.scales: dict[str, Scale] = {}
        if config.standardize:
            parts = self._moments[slice(*self._own)]
            self.scales = scales(config.standardize, parts, len(self._moments), processes, key)

    def take(
        self, first: int, last: int | None, chosen: np.ndarray | None, release: bool
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns and weights of rows ``first`` to ``last``, or ``chosen[first:last]``.

        Raises:
            InputError: there are no such rows, or they cannot be read.
        """
        size = self.total if chosen is None else len(chosen)
        last = size if last is None else last
        if not 0 <= first <= last <= size:
            raise InputError(f"{self._key}: there are no rows {first} to {last} of {size}")
        wanted = range(first, last) if chosen is None else chosen[first:last]
        offsets = self._offsets
        places = np.searchsorted(wanted, offsets) if chosen is not None else offsets - first
        places = np.clip(places, 0, last - first)  # of the chunks in what is returned
        low, high = self._held_chunks
        arrays = []
        for i, held in enumerate(self._held.arrays):
            here = held[_within(wanted, places[low], places[high], offsets[low])]
            whole = len(here) == last - first
            arrays.append(here if whole else np.empty(last - first, self._dtype))
            if not whole:
                arrays[-1][places[low] : places[high]] = here
            if release:
                self._held.arrays[i] = np.empty(0, self._dtype)
        if release:
            self._held_chunks = low, low
        others = [c for c in np.flatnonzero(np.diff(places)).tolist() if not low <= c < high]
        if others:
            with self._source.open() as table:
                for c in others:
                    rows = _within(wanted, places[c], places[c + 1], offsets[c])
                    for values, read in zip(arrays, self._chunk(table, c), strict=True):
                        values[places[c] : places[c + 1]] = read[rows]
        columns = dict(zip(self._selection.required, arrays, strict=False))
        columns |= {name: s.standardized(columns[name]) for name, s in self.scales.items()}
        # Weights that are all 1 take no memory.
        ones = np.broadcast_to(self._dtype.type(1), (last - first,))
        return columns, arrays[-1] if self._selection.weighted else ones

    def _open(self, required: Sequence[str], opened: ExitStack) -> Table:
        """Open the table, find out what is needed of it, and how many rows it has."""
        config, key = self._config, self._key
        if not required:
            raise InputError(f"{key}: none of its columns is used")
        if config.subsample_mode not in SUBSAMPLES:
            raise InputError(
                f"{key}.subsample_mode={config.subsample_mode}: must be one of "
                f"{', '.join(SUBSAMPLES)}"
            )
        self._source = find_source(config, key)
        self.source = self._source.name
        table = opened.enter_context(self._source.open())
        if table.part and config.group is None:
            self.source += f"[{table.part}]"
        check_names(config.standardize, required, key)
        plan = make_plan(config, required, table, self.source, key)
        self._selection = Selection(
            config, plan, required, self.source, key, self._dtype, self._exact
        )
        used = {name for name, _ in plan.entries}
        self._names = [name for name in table.names if name in used]
        lengths = table.lengths(self._names)
        if len(set(lengths.values())) > 1:
            text = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"{key}: the columns of {self.source} differ in their rows: {text}")
        self._rows = next(iter(lengths.values()), 0)
        if not self._rows:
            but_for = "".join(f", but for {n}: {reason}" for reason, n in table.left_out.items())
            raise InputError(f"{key}: {self.source} has no rows{but_for}")
        table.verify(self._names[self._processes.index :: self._processes.count])
        return table

    def _agreed_rows(self) -> int:
        rows = self._processes.exchange(np.array([self._rows]))[:, 0]
        if odd := np.flatnonzero(rows != rows[0]).tolist():
            raise InputError(
                f"{self._key}: process {odd[0]} sees {rows[odd[0]]} rows of {self.source}, and "
                f"process 0 sees {rows[0]}: all must be given the same file"
            )
        return self._rows

    def _select(self, table: Table, held_bytes: int | None) -> ColumnRanges:
        """Select rows of this process's chunks, hold them, and count those of all processes."""
        first, last = self._own
        columns = len(self._selection.required)
        arrays = columns + self._selection.weighted
        capacity = int(self._starts[last] - self._starts[first])
        if held_bytes is None and self._config.subsample is not None:
            held_bytes = HELD_BYTES
        if held_bytes is not None:
            capacity = min(capacity, held_bytes // (self._dtype.itemsize * arrays))
        self._held = HeldRows(arrays, capacity, self._dtype)
        self._held_chunks = first, first
        self._widths = np.zeros(len(self._names), np.int64)
        kept = np.zeros(len(self._starts) - 1, np.int64)
        tally = np.zeros(self._selection.counts, np.int64)
        ranges = ColumnRanges.none(columns)

        scratch, adding_up = Scratch(), threading.Lock()

        def place(c: int, rows: int) -> list[np.ndarray] | None:
            kept[c] = rows
            if self._held_chunks[1] != c or not self._held.has_space(rows):
                return None
            self._held_chunks = first, c + 1
            return self._held.reserve(rows)

        def select(item: tuple[int, Columns], in_turn: Callable) -> None:
            nonlocal tally, ranges
            c, raw = item
            selected = self._selection.apply(
                raw, scratch, lambda rows: in_turn(lambda: place(c, rows))
            )
            if self._config.standardize and len(selected.arrays[0]):
                self._moments[c] = self._moments_of(selected.arrays)
            with adding_up:
                tally += selected.tally
                ranges |= selected.ranges

        chunks = zip(range(first, last), self._read(table, first, last), strict=True)
        self._processes.together(lambda: work_through(chunks, select))
        self._held.trim()
        self._check_widths(self._processes.exchange(self._widths))
        dropped = self._selection.dropped(self._processes.added(tally), self._rows)
        self.dropped = {**table.left_out, **dropped}
        self._offsets[1:] = np.cumsum(self._processes.added(kept))
        return ranges

    def _moments_of(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        # In the precision of the catalog, whatever they were derived in.
        arrays = [values.astype(self._dtype, copy=False) for values in arrays]
        columns = dict(zip(self._selection.required, arrays, strict=False))
        weights = arrays[-1] if self._selection.weighted else None
        return moments([columns[name] for name in self._config.standardize], weights)

    def _draw(self, table: Table, size: int, seed: int) -> ColumnRanges:
        """Draw a subsample of the selected rows, and hold nothing else."""
        left = int(self._offsets[-1])
        if not 1 <= size <= left:
            raise InputError(
                f"{self._key}.subsample={size}: must be between 1 and {left}, the rows that are "
                f"left of {self.source}"
            )
        if size < left:
            self.dropped["not in the subsample"] = left - size
        drawn = SUBSAMPLES[self._config.subsample_mode](left, size, np.random.default_rng(seed))
        self._subsample, self._selected_offsets = drawn, self._offsets
        self._offsets = np.searchsorted(drawn, self._selected_offsets)
        first, last = self._own
        begun, held, columns = self._held_chunks[1], self._held, len(self._selection.required)
        rows = int(self._offsets[last] - self._offsets[first])
        self._held = HeldRows(len(held.arrays), rows, self._dtype)

        def hold() -> None:
            rows = drawn[self._offsets[first] : self._offsets[begun]]
            rows = rows - self._selected_offsets[first]
            self._held.add([values[rows] for values in held.arrays])
            for c in range(begun, last):
                if self._offsets[c] < self._offsets[c + 1]:
                    self._held.add(self._chunk(table, c))

        self._processes.together(hold)
        self._held_chunks = self._own
        return ColumnRanges.of(self._held.arrays, columns)

    def _read(self, table: Table, first: int, last: int) -> Iterator[Columns]:
        for c in range(first, last):
            raw = table.read(self._names, int(self._starts[c]), int(self._starts[c + 1]))
            widths = np.array([v.shape[1] if v.ndim == 2 else 0 for v in raw.values()])
            self._check_widths(np.stack([self._widths, widths]))
            self._widths = widths
            yield raw

    def _check_widths(self, widths: np.ndarray) -> None:
        """Check that vector columns have as many entries in all of their parts."""
        for name, known in zip(self._names, widths.T, strict=True):
            if len(set(known[known > 0].tolist())) > 1:
                raise InputError(f"{self._key}: the lists of column {name!r} differ in length")

    def _chunk(self, table: Table, c: int) -> list[np.ndarray]:
        """Read a chunk again: its selected rows, or those of them in the subsample."""
        arrays = self._selection.apply(next(self._read(table, c, c + 1)), Scratch()).arrays
        if self._subsample is None:
            return arrays
        drawn = self._subsample[self._offsets[c] : self._offsets[c + 1]]
        return [values[drawn - self._selected_offsets[c]] for values in arrays]


def _chunk_rows(rows: int, processes: int) -> int:
    share = -(-rows // (processes * CHUNKS_OF_PROCESS))
    return min(max(-(-share // SMALLEST_CHUNK) * SMALLEST_CHUNK, SMALLEST_CHUNK), LARGEST_CHUNK)


def _within(wanted: range | np.ndarray, first: int, last: int, offset: int) -> "slice | np.ndarray":
    """Which rows of a chunk, or of several, are ``wanted[first:last]``."""
    part = wanted[first:last]
    if isinstance(part, range):
        return slice(part.start - offset, part.stop - offset)
    return part - offset
