"""CSV files: a header with the names of the columns, and numbers."""

import csv
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path

import numpy as np

from kdescent_dist.readers.table import Columns, Table

CSV_MISSING = ("", "na", "n/a", "null", "none")
STRIDE = 4096  # rows from one known place in the file to the next
BYTE_ORDER_MARK = "\ufeff"


class CsvTable(Table):
    """The table in a CSV file; to know where its rows are, all lines are passed over once."""

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        self._path = path
        self._rows = 0
        self._places: list[int] = []  # of the first of every STRIDE rows
        position, names = 0, None
        for text, size in _records(path):
            if names is None:
                names = next(csv.reader([text]), [])
            elif text.rstrip("\r\n"):
                if self._rows % STRIDE == 0:
                    self._places.append(position)
                self._rows += 1
            position += size
        self.names = [name.strip() for name in names or []]
        if self.names:
            self.names[0] = self.names[0].removeprefix("#").strip()

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(names, self._rows)

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        first, last = min(first, self._rows), min(last, self._rows)
        if first == last or not names:
            return {name: np.zeros(0) for name in names}
        skipped = first % STRIDE
        indices = [self.names.index(name) for name in names]
        converters: dict[int | str, Callable[[str], float]] = {
            i: _number(name) for i, name in zip(indices, names, strict=True)
        }
        with self._path.open("rb") as file:
            file.seek(self._places[first // STRIDE])
            text = TextIOWrapper(file, encoding="utf-8", newline="")
            try:
                table = np.loadtxt(
                    (line for line in text if line.rstrip("\r\n")),
                    delimiter=",",
                    comments=None,
                    quotechar='"',
                    converters=converters,
                    usecols=indices,
                    max_rows=skipped + last - first,
                    ndmin=2,
                )[skipped:]
            except ValueError as error:
                # The cause is what a converter raised; it names the column.
                raise ValueError(str(error.__cause__ or error)) from error
        return {name: table[:, i] for i, name in enumerate(names)}

    def close(self) -> None:
        self._places.clear()


def _records(path: Path) -> Iterator[tuple[str, int]]:
    """Each record (a line, or several with quoted line ends) with its size in bytes."""
    with path.open(newline="", encoding="utf-8") as file:
        for text in file:
            if '"' in text:
                lines = [text]

                def more(lines: list[str] = lines) -> Iterator[str]:
                    for line in file:
                        lines.append(line)
                        yield line

                next(csv.reader(chain(lines[:1], more())))
                text = "".join(lines)
            yield text.removeprefix(BYTE_ORDER_MARK), len(text.encode())


def _number(name: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        text = text.strip()
        if text.lower() in CSV_MISSING:
            return np.nan
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"column {name!r} is not numeric, it holds {text!r}") from None

    return convert
