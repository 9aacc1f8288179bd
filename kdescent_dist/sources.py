"""Where a catalog comes from: a file, a sample that is shipped, or a function of the user."""

import difflib
from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.errors import InputError, closest
from kdescent_dist.readers import Choose, Columns, read_table
from kdescent_dist.settings import CatalogConfig
from kdescent_dist.targets import call_target

SAMPLES = {"dc2": ("dc2.hdf5", "photometry")}  # name: file in sample_data, group in it

Read = Callable[[Choose], Columns]


def open_source(config: CatalogConfig, key: str) -> tuple[str, Read]:
    """Find the table of a catalog.

    Args:
        config: of which ``path``, ``format`` and ``group``, or ``make``, are used.
        key: prefix of the config keys in messages.

    Returns:
        A short name of the source, and a function that reads columns: it takes one that chooses
        among the names of all columns.

    Raises:
        InputError: there is no such file or sample, or ``make`` cannot be called.
    """
    if (config.path is None) == (config.make is None):
        raise InputError(f"{key}: set either {key}.path (a file) or {key}.make (a function)")
    if config.make is not None:
        return _made(config.make, key)
    assert config.path is not None
    if config.path.startswith("sample:"):
        return config.path, _sample(config, config.path.removeprefix("sample:"), key)
    path = Path(config.path).expanduser()
    if not path.exists():
        raise InputError(f"{key}.path={config.path}: no such file: {_nearby(path)}")

    def read(choose: Choose) -> Columns:
        return read_table(path, choose, format=config.format, group=config.group, key=key)

    return config.path, read


def _sample(config: CatalogConfig, name: str, key: str) -> Read:
    if name not in SAMPLES:
        raise InputError(f"{key}.path={config.path}: no such sample: {closest(name, SAMPLES)}")
    file, group = SAMPLES[name]

    def read(choose: Choose) -> Columns:
        with as_file(files("kdescent_dist") / "sample_data" / file) as path:
            return read_table(path, choose, format="hdf5", group=config.group or group, key=key)

    return read


def _made(make: Mapping[str, Any], key: str) -> tuple[str, Read]:
    columns = call_target(make, f"{key}.make")
    source = str(make["_target_"])
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns):
        raise InputError(
            f"{key}.make: {source} must return a mapping of column names to arrays, not "
            f"{type(columns).__name__}"
        )

    def read(choose: Choose) -> Columns:
        names = choose(list(columns))
        return {name: _array(columns[name], f"{key}.make: column {name!r}") for name in names}

    return source, read


def _array(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what} is not an array: {error}") from error


def _nearby(path: Path) -> str:
    """What there is instead: names in the nearest folder that exists."""
    name, folder = path.name, path.absolute().parent
    while not folder.is_dir():
        name, folder = folder.name, folder.parent
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:10]
    return f"{folder} holds {', '.join(near) or 'nothing'}"
