"""Sources of catalogs: a file, a sample in this package, or a function of the user."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.catalogs.readers import Columns, FileTable, Table
from kdescent_dist.config.dotted_path import call_target
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.numerics.arrays import unmasked

SAMPLES = {"dc2": ("dc2.hdf5", "photometry")}  # name: (file in sample_data, group)


@dataclass(frozen=True)
class Source:
    """A table that can be opened.

    Attributes:
        name: a short name, for messages.
        open: opens the table.
    """

    name: str
    open: Callable[[], Table]


def find_source(config: CatalogConfig, key: str) -> Source:
    """Find the table of a catalog.

    Args:
        config: its ``path``, ``format`` and ``group``, or its ``make``, name the table.
        key: prefix of the config keys in messages.

    Raises:
        InputError: there is no such file or sample, or ``make`` cannot be called.
    """
    if (config.path is None) == (config.make is None):
        raise InputError(f"{key}: set either {key}.path (a file) or {key}.make (a function)")
    if config.make is not None:
        return _made(config.make, key)
    assert config.path is not None
    if config.path.startswith("sample:"):
        return _sample(config, config.path.removeprefix("sample:"), key)
    path = Path(config.path).expanduser()
    if not path.exists():
        raise InputError(f"{key}.path={config.path}: no such file: {_nearby(path)}")
    format, group = config.format, config.group
    return Source(config.path, lambda: FileTable(path, format=format, group=group, key=key))


def _sample(config: CatalogConfig, name: str, key: str) -> Source:
    if name not in SAMPLES:
        raise InputError(f"{key}.path={config.path}: no such sample: {closest(name, SAMPLES)}")
    file, group = SAMPLES[name]

    def open() -> Table:
        with as_file(files("kdescent_dist") / "sample_data" / file) as path:
            return FileTable(path, format="hdf5", group=config.group or group, key=key)

    return Source(f"sample:{name}", open)


def _made(make: Mapping[str, Any], key: str) -> Source:
    columns = call_target(make, f"{key}.make")
    source = str(make["_target_"])
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns):
        raise InputError(
            f"{key}.make: {source} must return a mapping of column names to arrays, not "
            f"{type(columns).__name__}"
        )
    return Source(source, lambda: _MadeTable(columns, key))


class _MadeTable(Table):
    """Columns returned by a function of the user; unused columns are not checked."""

    def __init__(self, columns: Mapping[str, Any], key: str) -> None:
        self.names = list(columns)
        self._made, self._key = columns, key
        self._arrays: Columns = {}

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return {name: len(self._array(name)) for name in names}

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        return {name: self._array(name)[first:last] for name in names}

    def close(self) -> None:
        self._arrays.clear()

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = _array(self._made[name], f"{self._key}.make: column {name!r}")
        return self._arrays[name]


def _array(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(unmasked(values))
    except ValueError as error:
        raise InputError(f"{what} is not an array: {error}") from error
    if not array.ndim:
        raise InputError(f"{what} is a single value, not one for each row")
    return array


def _nearby(path: Path) -> str:
    """Names in the nearest existing folder, for the message about a missing file."""
    name, folder = path.name, path.absolute().parent
    while not folder.is_dir():
        name, folder = folder.name, folder.parent
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:10]
    return f"{folder} holds {', '.join(near) or 'nothing'}"
