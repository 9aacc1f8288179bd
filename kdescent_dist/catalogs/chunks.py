"""A table cut into chunks, which are ranges of rows that are read and selected one at a time."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from kdescent_dist.catalogs.column_statistics import CHUNK_ROWS, check_names
from kdescent_dist.catalogs.plan import make_plan
from kdescent_dist.catalogs.readers import Columns, Table
from kdescent_dist.catalogs.scratch import Scratch
from kdescent_dist.catalogs.selection import Selection
from kdescent_dist.catalogs.sources import Source, find_source
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.distributed.processes import Processes

LARGEST_CHUNK = 1 << 18  # rows
SMALLEST_CHUNK = 1 << 12  # rows: with smaller chunks, threads would wait for each other too often
CHUNKS_OF_PROCESS = 16  # enough that processes read few rows twice at the ends of their shares


@dataclass(frozen=True)
class Chunks:
    """The chunks of a table, and the selection of their rows.

    Attributes:
        source: opens the table.
        name: name of the table, for messages.
        columns: names of the columns that are read.
        starts: (chunks + 1,) first row of each chunk; the last entry is the number of all rows.
        selection: selects the rows of a chunk.
        key: prefix of the config keys, for messages.
    """

    source: Source
    name: str
    columns: list[str]
    starts: np.ndarray
    selection: Selection
    key: str

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def rows(self) -> int:
        """Number of rows of the table."""
        return int(self.starts[-1])

    def read(self, table: Table, first: int, last: int) -> Iterator[Columns]:
        """The columns of chunks ``first`` to ``last`` (excluded), one chunk after another.

        Raises:
            InputError: the file is damaged, or the lists of a vector column differ in length.
        """
        widths = np.zeros((1, len(self.columns)), np.int64)
        for c in range(first, last):
            raw = table.read(self.columns, int(self.starts[c]), int(self.starts[c + 1]))
            widths = np.stack([widths.max(axis=0), widths_of(raw)])
            self.check_widths(widths)
            yield raw

    def check_widths(self, widths: np.ndarray) -> None:
        """Check that vector columns have the same length in several parts of the table.

        Args:
            widths: (parts, columns) lengths of the vectors; 0 for numbers, or if not known.

        Raises:
            InputError: the vectors of a column differ in length.
        """
        for name, known in zip(self.columns, widths.T, strict=True):
            if len(set(known[known > 0].tolist())) > 1:
                raise InputError(f"{self.key}: the lists of column {name!r} differ in length")

    def select(self, table: Table, c: int) -> list[np.ndarray]:
        """Read a chunk and select its rows; returns ``Selected.arrays``."""
        return self.selection.apply(next(self.read(table, c, c + 1)), Scratch()).arrays


def widths_of(raw: Columns) -> np.ndarray:
    """(columns,) lengths of the vectors of each column, 0 for numbers."""
    return np.array([v.shape[1] if v.ndim == 2 else 0 for v in raw.values()], np.int64)


def open_chunks(
    config: CatalogConfig,
    required: Sequence[str],
    key: str,
    *,
    processes: Processes,
    chunk_rows: int | None,
    dtype: np.dtype,
    exact: Sequence[str],
    stack: ExitStack,
) -> tuple[Chunks, Table]:
    """Open a table, find the needed columns, and cut the table into chunks.

    Args:
        config, required, key, processes, chunk_rows, dtype, exact: see ``catalog.open_catalog``.
        stack: closes the table.

    Raises:
        InputError: there is no such table, or the table lacks a column or has no rows.
    """
    source = find_source(config, key)
    table = stack.enter_context(source.open())
    name = source.name
    if table.part and config.group is None:
        name += f"[{table.part}]"
    check_names(config.standardize, required, key)
    plan = make_plan(config, required, table, name, key)
    selection = Selection(config, plan, required, name, key, dtype, exact)
    used = {name for name, _ in plan.entries}
    columns = [name for name in table.names if name in used]
    rows = _rows(table, columns, name, key)
    table.verify(columns[processes.index :: processes.count])
    default = CHUNK_ROWS if config.standardize else _chunk_rows(rows, processes.count)
    starts = np.append(np.arange(0, rows, chunk_rows or default), rows)
    return Chunks(source, name, columns, starts, selection, key), table


def _rows(table: Table, columns: list[str], name: str, key: str) -> int:
    """The number of rows, which must be equal and positive for all columns."""
    lengths = table.lengths(columns)
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{column} {length}" for column, length in lengths.items())
        raise InputError(f"{key}: the columns of {name} differ in their rows: {text}")
    rows = next(iter(lengths.values()), 0)
    if not rows:
        but_for = "".join(f", but for {n}: {reason}" for reason, n in table.left_out.items())
        raise InputError(f"{key}: {name} has no rows{but_for}")
    return rows


def _chunk_rows(rows: int, processes: int) -> int:
    share = -(-rows // (processes * CHUNKS_OF_PROCESS))
    return min(max(-(-share // SMALLEST_CHUNK) * SMALLEST_CHUNK, SMALLEST_CHUNK), LARGEST_CHUNK)
