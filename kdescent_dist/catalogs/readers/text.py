"""CSV files: comments, a header with the names of the columns, and values."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from kdescent_dist.catalogs.readers.table import Columns, Reader
from kdescent_dist.catalogs.readers.text_values import (
    check_row,
    fields,
    is_missing,
    is_number,
    parse,
)

STRIDE = 4096  # rows between two rows whose offsets in the file are stored
BLOCK_BYTES = 1 << 22
GZIP = b"\x1f\x8b"
NEWLINE, RETURN, QUOTE, COMMENT = (ord(c) for c in '\n\r"#')
DELIMITERS = (",", ";", "\t", "|")  # otherwise blanks separate columns
CUT = "last line without a line break, which may be cut"


class CsvTable(Reader):
    """The table in a CSV file. Opening the file reads it once, to find the offsets of its rows.

    Empty lines and lines that begin with # are not rows. The header is the first line that is not a
    comment; if this line holds numbers, the header is the last comment before it. Columns are
    separated by the first of ``DELIMITERS`` in the header. A last line without a line break is left
    out: in a truncated file, its numbers may lack digits.
    """

    format = "csv"
    suffixes = (".csv", ".csv.gz", ".tsv", ".ecsv", ".txt")

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        with path.open("rb") as file:
            compressed = file.read(len(GZIP)) == GZIP
        self._file: Any = gzip.GzipFile(path) if compressed else path.open("rb")
        try:
            self._find_rows(self._read_header())
            self._check_first_row()
        except BaseException:
            self._file.close()
            raise
        self._texts: dict[str, bool] = {}

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(names, self._rows)

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        first, last = min(first, self._rows), min(last, self._rows)
        if first == last or not names:
            return {name: np.zeros(0) for name in names}
        texts = [name for name in names if self._is_text(name)]
        block = self._block(first, last)
        return parse(block, last - first, self.names, names, texts, self._delimiter)

    def close(self) -> None:
        self._places.clear()
        self._file.close()

    def _read_header(self) -> int:
        """Find the names and the delimiter; returns the offset of the first row."""
        comment, begin = "", 0
        for raw in self._file:
            line = _decoded(raw)
            if line.startswith("#"):
                comment = line.lstrip("#").strip() or comment
            elif line:
                break
            begin += len(raw)
        else:
            # A file without rows may have its header in a comment.
            line, raw = comment, b""
        header, length = line, len(raw)
        if comment and raw and any(is_number(field) for field in fields(line, _delimiter(line))):
            header, length = comment, 0
        if "\0" in header:
            raise ValueError("it is no text in UTF-8")
        self._delimiter = _delimiter(header)
        self.names = [name.strip() for name in fields(header, self._delimiter)]
        return begin + length

    def _check_first_row(self) -> None:
        if not self._rows:
            return
        check_row(fields(_decoded(self._block(0, 1)), self._delimiter), len(self.names))

    def _find_rows(self, begin: int) -> None:
        """Store the offset of every ``STRIDE``-th row."""
        self._rows, self._places = 0, []
        self._file.seek(begin)
        place, block = begin, b""
        for place, block in _blocks(self._file, begin):
            starts, _ = _records(block)
            known = np.arange(-self._rows % STRIDE, len(starts), STRIDE)
            self._places += (place + starts[known]).tolist()
            self._rows += len(starts)
            begin = place + len(block)
        self._end = begin
        self._leave_out_cut_row(place, block)

    def _leave_out_cut_row(self, place: int, block: bytes) -> None:
        """Leave out the last row of the last block if it does not end with a line break."""
        starts, _ = _records(block)
        _, ends = _records(block, closed=False)
        whole = int(ends[-1]) if len(ends) else 0
        if not len(starts) or starts[-1] < whole:
            return
        if b"\n" in block[whole:]:
            raise ValueError(
                "a quote is not closed at its end: it is cut, or the quote does not belong there"
            )
        self._rows -= 1
        if not self._rows % STRIDE:
            self._places.pop()
        self._end = place + whole
        self.left_out = {CUT: 1}

    def _block(self, first: int, last: int) -> bytes:
        """The bytes of rows ``first`` to ``last`` (excluded), without comments and empty lines."""
        low, high = first // STRIDE, -(-last // STRIDE)
        place = self._places[low]
        end = self._places[high] if high < len(self._places) else self._end
        self._file.seek(place)
        block = self._file.read(end - place)
        starts, ends = _records(block)
        rows = slice(first - low * STRIDE, last - low * STRIDE)
        starts, ends = starts[rows], ends[rows]
        if np.array_equal(starts[1:], ends[:-1]):
            return block[starts[0] : ends[-1]]
        return b"".join(block[s:e] for s, e in zip(starts.tolist(), ends.tolist(), strict=True))

    def _is_text(self, name: str) -> bool:
        """Whether a column holds text: its first value that is not missing is not a number."""
        if name not in self._texts:
            index, count = self.names.index(name), min(STRIDE, self._rows)
            lines = _decoded(self._block(0, count)).splitlines()
            rows = (fields(line, self._delimiter) for line in lines)
            values = (row[index] for row in rows if len(row) > index)
            found = next((value for value in values if not is_missing(value)), "0")
            self._texts[name] = not is_number(found)
        return self._texts[name]


def _blocks(file: IO[bytes], place: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole records, each with its offset in the file."""
    rest = b""
    while more := file.read(BLOCK_BYTES):
        block = rest + more
        _, ends = _records(block, closed=False)
        whole = int(ends[-1]) if len(ends) else 0
        if whole:
            yield place, block[:whole]
        place, rest = place + whole, block[whole:]
    if rest:
        yield place, rest


def _records(block: bytes, closed: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the begins and ends of the records in a block.

    Args:
        block: bytes that begin at a record.
        closed: whether the bytes also end at a record. Then comments and empty lines are left out;
            otherwise only the ends are returned.
    """
    values = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(values == NEWLINE) + 1
    if b'"' in block:
        # A line break within quotes is part of a value.
        inside = np.cumsum(values == QUOTE)[ends - 1] % 2
        ends = ends[inside == 0]
    if not closed:
        return np.empty(0, np.int64), ends
    if not len(ends) or ends[-1] < len(block):
        ends = np.append(ends, len(block))
    starts = np.append(0, ends[:-1])[: len(ends)]
    begins = values[np.minimum(starts, len(block) - 1)] if len(block) else values
    rows = (begins != NEWLINE) & (begins != RETURN) & (begins != COMMENT)
    return starts[: len(rows)][rows], ends[: len(rows)][rows]


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip("\r\n")


def _delimiter(header: str) -> str | None:
    return next((d for d in DELIMITERS if d in header), None)
