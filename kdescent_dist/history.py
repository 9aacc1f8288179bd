"""The history of a fit: trial parameters and losses of each step, in memory and in a file."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class History:
    """Trial parameters and losses of consecutive steps, in host memory.

    Attributes:
        params: (steps, parameters) bounded parameters at which the loss was taken.
        loss: (steps,) losses.
        grad_norm: (steps,) norms of the gradient with respect to the unbounded parameters.
    """

    params: np.ndarray
    loss: np.ndarray
    grad_norm: np.ndarray

    @classmethod
    def empty(cls, size: int, dtype: Any) -> "History":
        return cls(np.zeros((0, size), dtype), np.zeros(0, dtype), np.zeros(0, dtype))

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


class HistoryFileError(ValueError):
    """Rows of a history cannot be read from their file, or are not those that were saved."""


class HistoryFile:
    """The rows of a history in one file that only grows: a save writes what is new.

    A row is the parameters, the loss and the norm of the gradient of a step, in the precision of
    the fit. A checkpoint tells how many rows belong to it, and the SHA-256 of their bytes.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = 0
        self._sha = hashlib.sha256()

    def save(self, history: History) -> dict[str, Any]:
        """Append the rows that are not in the file, and return what ``load`` needs."""
        new = history.part(self._rows)
        table = np.column_stack([new.params, new.loss, new.grad_norm])
        data = table.data.cast("B") if table.size else b""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            # What follows is of a checkpoint that was damaged, or that was never completed.
            file.truncate(self._rows * table.itemsize * table.shape[1])
            file.seek(0, os.SEEK_END)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._sha.update(data)
        self._rows = len(history)
        return {"rows": self._rows, "dtype": table.dtype.str, "sha256": self._sha.hexdigest()}

    def load(self, saved: dict[str, Any], parameters: int) -> History:
        """Read the rows of a checkpoint; those that are saved next follow after them.

        Args:
            saved: what ``save`` returned.
            parameters: their number.

        Raises:
            HistoryFileError: they cannot be read, or are not what was saved.
        """
        row = np.dtype((saved["dtype"], parameters + 2))
        try:
            with self.path.open("rb") as file:
                data = file.read(saved["rows"] * row.itemsize)
        except OSError as error:
            raise HistoryFileError(f"{self.path}: {error.strerror}") from error
        sha = hashlib.sha256(data)
        if sha.hexdigest() != saved["sha256"]:
            raise HistoryFileError(
                f"{self.path}: its first {saved['rows']} rows are not those that were saved"
            )
        table = np.frombuffer(data, row.base).reshape(-1, parameters + 2)
        self._rows, self._sha = len(table), sha
        columns = (table[:, :parameters], table[:, parameters], table[:, parameters + 1])
        return History(*(np.ascontiguousarray(column) for column in columns))
