"""The history of a fit, with trial parameters and losses of all steps, in memory and in a file."""

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
        params: (steps, parameters) trial parameters, within their bounds.
        loss: (steps,) losses.
        grad_norm: (steps,) norms of the gradient with respect to the optimizer's variables.
    """

    params: np.ndarray
    loss: np.ndarray
    grad_norm: np.ndarray

    @classmethod
    def empty(cls, size: int, dtype: Any) -> "History":
        return cls(np.zeros((0, size), dtype), np.zeros(0, dtype), np.zeros(0, dtype))

    @classmethod
    def lost(cls, rows: int, size: int, dtype: Any) -> "History":
        """Lost rows, filled with NaN."""
        nan = np.full((rows, size + 2), np.nan, dtype)
        return cls(nan[:, :size], nan[:, size], nan[:, size + 1])

    def __len__(self) -> int:
        return len(self.loss)

    def part(self, first: int, last: int | None = None) -> "History":
        """Rows ``first`` to ``last`` (excluded), without a copy."""
        rows = slice(first, last)
        return History(self.params[rows], self.loss[rows], self.grad_norm[rows])


class GrowingHistory:
    """A history to which rows are appended, in amortized constant time per row.

    Args:
        start: the first rows.
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
        """The rows from ``first`` on; later calls of ``append`` do not change these rows."""
        return self._buffer.part(first, self._size)


def _copied(array: np.ndarray, rows: int) -> np.ndarray:
    larger = np.empty((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


class HistoryFile:
    """The rows of a history in one file; each save appends the new rows.

    A row has the parameters, the loss and the norm of the gradient of a step, in the precision of
    the fit. A checkpoint stores the number of its rows and the SHA-256 of their bytes. A second
    file, ``<name>.crc``, has the CRC-32 of each row: damage costs only the damaged rows.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = 0  # number of rows that need not be written again
        self._sha = hashlib.sha256()
        self._sums = bytearray()

    @property
    def _sums_path(self) -> Path:
        return self.path.with_suffix(".crc")

    def save(self, history: History) -> dict[str, Any]:
        """Append the rows that are not in the file, and return the argument ``saved`` of ``load``.

        If the file is gone or too short, the whole file is written again.

        Raises:
            OSError: the file cannot be written.
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
        """Read the rows of a checkpoint; the next save continues after these rows.

        Args:
            saved: the result of ``save``.
            parameters: number of parameters.

        Returns:
            The history, and the number of its lost rows, which are NaN.
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
    """Truncate a file to ``size`` bytes, and append data; a new file is created atomically.

    The truncated bytes belong to a checkpoint that is damaged or was never completed.
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
    """Up to ``size`` first bytes of a file; empty if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
