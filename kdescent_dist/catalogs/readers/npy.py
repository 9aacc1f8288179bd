"""NPY files: a structured array, or the columns of a matrix; memory-mapped."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from kdescent_dist.catalogs.readers.table import Columns, Reader


class NpyTable(Reader):
    """The fields of a structured array; or col0, col1, ... of an array of numbers."""

    format = "npy"
    suffixes = (".npy",)

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        # An empty array cannot be memory-mapped.
        array = np.load(path, allow_pickle=False)[:0] if _is_empty(path) else _mapped(path)
        if array.dtype.names is None and array.ndim not in (1, 2):
            raise ValueError(f"its array of shape {array.shape} is no table")
        if array.dtype.names is None:
            columns = array.T if array.ndim == 2 else array[None]
            self._columns = {f"col{i}": values for i, values in enumerate(columns)}
        else:
            records = array.reshape(-1)
            self._columns = {name: records[name] for name in array.dtype.names}
        self.names = list(self._columns)

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return {name: len(self._columns[name]) for name in names}

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        return {name: self._columns[name][first:last] for name in names}

    def close(self) -> None:
        self._columns.clear()


def array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape of the array in a file, whether the array is in Fortran order, and its type."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    return read(stream)


def _is_empty(path: Path) -> bool:
    with path.open("rb") as file:
        shape, _, _ = array_header(file)
        return 0 in shape


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
