"""The history of a fit: trial parameters and losses of each step, in memory and in a file."""

import hashlib
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class History:
    """Trial parameters and losses of consecutive steps, in host memory.

    Attributes:
        params: (steps, parameters) bounded parameters at which the loss was taken.
        loss: (steps,) losses.
        grad_norm: (steps,) norms of the gradient with respect to what the optimizer moves.
    """

    params: np.ndarray
    loss: np.ndarray
    grad_norm: np.ndarray

    @classmethod
    def empty(cls, size: int, dtype: Any) -> "History":
        return cls(np.zeros((0, size), dtype), np.zeros(0, dtype), np.zeros(0, dtype))

    @classmethod
    def lost(cls, rows: int, size: int, dtype: Any) -> "History":
        """Rows of which nothing is known: NaN."""
        nan = np.full((rows, size + 2), np.nan, dtype)
        return cls(nan[:, :size], nan[:, size], nan[:, size + 1])

    def __len__(self) -> int:
        return len(self.loss)

    def part(self, first: int, last: int | None = None) -> "History":
        """The rows from ``first`` up to, but without, ``last``; nothing is copied."""
        rows = slice(first, last)
        return History(self.params[rows], self.loss[rows], self.grad_norm[rows])


class GrowingHistory:
    """A history to which rows are appended, at the cost of these rows alone on average.

    Args:
        start: the rows that are there already.
    """

    def __init__(self, start: History) -> None:
        self._buffer = start
        self._size = len(start)

    def append(self, rows: History) -> None:
        size = self._size + len(rows)
        if size > len(self._buffer):
            buffer = self._buffer
            grown = (_copied(a, 2 * size) for a in (buffer.params, buffer.loss, buffer.grad_norm))
            self._buffer = History(*grown)
        free = self._buffer.part(self._size, size)
        free.params[:], free.loss[:], free.grad_norm[:] = rows.params, rows.loss, rows.grad_norm
        self._size = size

    def part(self, first: int = 0) -> History:
        """The rows from ``first`` on, which those appended later leave alone."""
        return self._buffer.part(first, self._size)


def _copied(array: np.ndarray, rows: int) -> np.ndarray:
    larger = np.empty((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


class HistoryFile:
    """The rows of a history in one file that only grows: a save writes what is new.

    A row is the parameters, the loss and the norm of the gradient of a step, in the precision of
    the fit. A checkpoint knows how many rows belong to it, and the SHA-256 of their bytes. A
    second file, ``<name>.crc``, has the CRC-32 of each row. Damage costs the damaged rows alone.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = 0  # of the file that need not be written again
        self._sha = hashlib.sha256()
        self._sums = bytearray()

    @property
    def _sums_path(self) -> Path:
        return self.path.with_suffix(".crc")

    def save(self, history: History) -> dict[str, Any]:
        """Append the rows that are not in the file, and return what ``load`` needs.

        The file is written anew where it is gone or shorter than it was.

        Raises:
            OSError: it cannot be written.
        """
        row_size = (history.params.shape[1] + 2) * history.params.itemsize
        if self._rows and _size(self.path) < self._rows * row_size:
            log.warning("%s is gone or was cut: it is written anew", self.path)
            self._begin_anew()
        new = history.part(self._rows)
        table = np.column_stack([new.params, new.loss, new.grad_norm])
        data = table.tobytes()
        _append(self.path, self._rows * row_size, data)
        sums = _row_sums(table)
        known = 4 * self._rows
        self._sums[known:] = sums
        if known and _size(self._sums_path) < known:
            known, sums = 0, self._sums
        _append(self._sums_path, known, sums)
        self._sha.update(data)
        self._rows = len(history)
        return {"rows": self._rows, "dtype": table.dtype.str, "sha256": self._sha.hexdigest()}

    def load(self, saved: dict[str, Any], parameters: int) -> tuple[History, int]:
        """Read the rows of a checkpoint; those that are saved next follow after them.

        Args:
            saved: what ``save`` returned.
            parameters: their number.

        Returns:
            The history, and how many of its rows are lost: these are NaN.
        """
        row = np.dtype((saved["dtype"], parameters + 2))
        data = _read(self.path, saved["rows"] * row.itemsize)
        data = data[: len(data) // row.itemsize * row.itemsize]
        table = np.full((saved["rows"], parameters + 2), np.nan, row.base)
        found = np.frombuffer(data, row.base).reshape(-1, parameters + 2)
        table[: len(found)] = found
        sha, lost = hashlib.sha256(data), 0
        if sha.hexdigest() == saved["sha256"]:
            self._rows, self._sha, self._sums = len(table), sha, bytearray(_row_sums(table))
        else:
            sums = _row_sums(found)
            known = _read(self._sums_path, len(sums)).ljust(len(sums), b"\0")
            good = np.zeros(len(table), bool)
            good[: len(found)] = np.frombuffer(sums, "<u4") == np.frombuffer(known, "<u4")
            table[~good] = np.nan
            lost = int(np.sum(~good))
            self._begin_anew()
        columns = (table[:, :parameters], table[:, parameters], table[:, parameters + 1])
        return History(*(np.ascontiguousarray(column) for column in columns)), lost

    def _begin_anew(self) -> None:
        self._rows, self._sha, self._sums = 0, hashlib.sha256(), bytearray()


def _row_sums(table: np.ndarray) -> bytes:
    return b"".join(zlib.crc32(row.tobytes()).to_bytes(4, "little") for row in table)


def _append(path: Path, size: int, data: bytes | bytearray) -> None:
    """Cut a file to ``size`` bytes and write after them; a new file is there whole or not at all.

    What is cut off is of a checkpoint that was damaged, or that was never completed.
    """
    if path.is_dir():
        aside = path.with_name(f"{path.name}.damaged")
        log.warning("%s is a folder: it is renamed to %s", path, aside.name)
        path.rename(aside)
    target = path if size else path.with_name(f".{path.name}")
    with target.open("r+b" if size else "wb") as file:
        file.truncate(size)
        file.seek(0, os.SEEK_END)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if not size:
        os.replace(target, path)


def _read(path: Path, size: int) -> bytes:
    """The first bytes of a file, fewer or none where they are not there."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
