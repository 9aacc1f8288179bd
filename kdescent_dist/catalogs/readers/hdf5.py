"""HDF5 files: the datasets of a group are the columns."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kdescent_dist.catalogs.readers.hdf5_written import check_written, opened
from kdescent_dist.catalogs.readers.table import Columns, Reader, also_within_common_group
from kdescent_dist.config.errors import InputError, closest

CHUNK_CACHE_BYTES = 1 << 20  # smallest default cache of all versions of HDF5


@dataclass(frozen=True)
class _Column:
    dataset: str
    part: str | None  # field of a compound type
    rows: int


class Hdf5Table(Reader):
    """All datasets with rows in a group, named by their paths in the group; links are followed."""

    format = "hdf5"
    suffixes = (".hdf5", ".h5", ".hdf", ".he5")
    takes_group = True

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        self._file = opened(path)
        try:
            if group is not None and group not in self._file:
                raise InputError(
                    f"{key}.group={group}: not in {path}: {_groups(self._file, group)}"
                )
            found = _columns(self._file, group)
            if not found:
                at_fault = f"path={path}" if group is None else f"group={group}"
                hint = _groups(self._file, group)
                raise InputError(f"{key}.{at_fault}: has no datasets with rows of its own: {hint}")
        except BaseException:
            self._file.close()
            raise
        self._columns = also_within_common_group(found) if group is None else found
        self._datasets: dict[str, h5py.Dataset] = {}
        self._mapped: dict[str, np.ndarray | None] = {}
        self.names = list(self._columns)

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return {name: self._columns[name].rows for name in names}

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        columns = {}
        for name in names:
            column = self._columns[name]
            values: Any = self._map(column.dataset)
            if values is None:
                values = self._dataset(column.dataset)
                values = values if column.part is None else values.fields(column.part)
            elif column.part is not None:
                values = values[column.part]
            columns[name] = values[first:last]
        return columns

    def close(self) -> None:
        self._datasets.clear()
        self._mapped.clear()
        self._file.close()

    def _map(self, path: str) -> np.ndarray | None:
        """The memory-mapped dataset, None if its bytes in the file differ from NumPy's.

        Several threads can read a memory-mapped dataset at a time; HDF5 admits one thread.
        """
        if path not in self._mapped:
            dataset = self._dataset(path)
            place, values = _place(dataset), None
            if place is not None:
                values = np.memmap(dataset.file.filename, dataset.dtype, "r", place, dataset.shape)
            self._mapped[path] = None if values is None else np.asarray(values)
        return self._mapped[path]

    def _dataset(self, path: str) -> h5py.Dataset:
        """Open a dataset with a cache for one HDF5 chunk, so that each chunk is decoded once."""
        if path not in self._datasets:
            dataset: Any = self._file[path]
            size = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
            if size > CHUNK_CACHE_BYTES:
                del dataset  # the cache of an open dataset cannot be changed
                access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
                access.set_chunk_cache(521, size, 1.0)
                dataset = h5py.Dataset(h5py.h5d.open(self._file.id, path.encode(), access))
            check_written(dataset)
            self._datasets[path] = dataset
        return self._datasets[path]


def _place(dataset: Any) -> int | None:
    """Offset of a dataset in the file, None if it cannot be memory-mapped."""
    dtype, where = dataset.dtype, dataset.id
    in_pieces = dataset.chunks is not None or dataset.is_virtual or dataset.external is not None
    if in_pieces or dtype.hasobject or not dataset.size or dataset.file.userblock_size:
        return None
    if not where.get_type().equal(h5py.h5t.py_create(dtype, logical=True)):
        return None
    place = where.get_offset()
    if place is None or place + dataset.nbytes > os.path.getsize(dataset.file.filename):
        return None
    return place


def _columns(file: Any, group: str | None) -> dict[str, _Column]:
    """All columns below a group, or of a compound dataset, by their paths in it."""
    prefix = f"/{group or ''}".rstrip("/")
    if isinstance(file[prefix or "/"], h5py.Dataset):
        return _of_dataset("", prefix, file[prefix])
    found: dict[str, _Column] = {}
    pending, seen = [("", file[prefix or "/"])], set()
    while pending:
        name, item = pending.pop()
        if isinstance(item, h5py.Dataset):
            found |= _of_dataset(name, f"{prefix}/{name}", item)
        elif isinstance(item, h5py.Group) and item.id not in seen:
            seen.add(item.id)  # links may form cycles
            children = [(f"{name}/{child}".lstrip("/"), _child(item, str(child))) for child in item]
            pending += reversed(children)
    return found


def _child(group: Any, name: str) -> Any:
    try:
        return group[name]
    except (KeyError, OSError):  # a broken link
        return None


def _of_dataset(name: str, path: str, dataset: Any) -> dict[str, _Column]:
    if not dataset.shape:
        return {}
    parts, rows = dataset.dtype.names, dataset.shape[0]
    if parts is None:
        return {name: _Column(path, None, rows)} if name else {}
    return {f"{name}/{part}".lstrip("/"): _Column(path, part, rows) for part in parts}


def _groups(file: Any, group: str | None) -> str:
    """A hint at the groups that have columns; similar names come first."""
    found = {os.path.dirname(name): None for name in _columns(file, None)}
    names = [name for name in found if name and name != group]
    if not names:
        return (
            "nor has any group of the file"
            if not found
            else "only the file itself has some: leave it out"
        )
    return closest(group or "", names)
