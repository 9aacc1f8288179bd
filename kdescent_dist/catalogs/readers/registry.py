"""The readers of all formats, from this package and from other packages.

Another package adds a reader by an entry point, in its ``pyproject.toml``::

    [project.entry-points."kdescent_dist.readers"]
    zarr = "its_package.zarr_table:ZarrTable"

The name of the entry point is the format. The class derives from ``Reader``. The class is imported
when a catalog has this format, or has a suffix that no reader of this package accepts.
"""

import logging
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from kdescent_dist.catalogs.readers.fits import FitsTable
from kdescent_dist.catalogs.readers.hdf5 import Hdf5Table
from kdescent_dist.catalogs.readers.npy import NpyTable
from kdescent_dist.catalogs.readers.npz import NpzTable
from kdescent_dist.catalogs.readers.parquet import ParquetTable
from kdescent_dist.catalogs.readers.table import Reader
from kdescent_dist.catalogs.readers.text import CsvTable
from kdescent_dist.config.errors import InputError

log = logging.getLogger(__name__)

ENTRY_POINTS = "kdescent_dist.readers"
READERS: tuple[type[Reader], ...] = (
    Hdf5Table,
    ParquetTable,
    FitsTable,
    NpzTable,
    NpyTable,
    CsvTable,
)


def find_reader(path: Path, format: str | None, key: str) -> type[Reader]:
    """The class that reads a file or a folder.

    Args:
        path: an existing file or folder.
        format: name of the format; None to infer the format from the suffix of the path. A folder
            is Parquet, unless another reader accepts folders with its suffix.
        key: prefix of the config keys in messages.

    Raises:
        InputError: no reader has this format or accepts this path, or a reader of another package
            cannot be loaded.
    """
    if format is not None:
        return _of_format(format, key)
    found = next((reader for reader in READERS if _takes(reader, path)), None)
    if found is None and path.suffix:
        found = _of_other_packages(path, key)
    if found is None and path.is_dir():
        found = next(reader for reader in READERS if reader.takes_folder)
    if found is None:
        raise InputError(
            f"{key}.format: the name {path.name} does not tell: set it to one of {_formats()}"
        )
    return found


def _of_format(format: str, key: str) -> type[Reader]:
    for reader in READERS:
        if reader.format == format:
            return reader
    for entry in _installed():
        if entry.name == format:
            return _loaded(entry, key)
    raise InputError(f"{key}.format={format}: must be one of {_formats()}")


def _of_other_packages(path: Path, key: str) -> type[Reader] | None:
    broken = None
    for entry in _installed():
        try:
            reader = _loaded(entry, key)
        except InputError as error:
            broken = broken or error
            continue
        if _takes(reader, path):
            return reader
    if broken is not None and not path.is_dir():
        raise broken
    if broken is not None:
        log.warning("%s", broken)
    return None


def _takes(reader: type[Reader], path: Path) -> bool:
    fits = path.name.lower().endswith(reader.suffixes)
    return fits and (reader.takes_folder or not path.is_dir())


def _installed() -> list[EntryPoint]:
    """The readers of other packages, in an order that does not depend on ``sys.path``."""
    own = {reader.format for reader in READERS}
    found = [entry for entry in entry_points(group=ENTRY_POINTS) if entry.name not in own]
    return sorted(found, key=lambda entry: (entry.name, entry.value))


def _loaded(entry: EntryPoint, key: str) -> type[Reader]:
    package = "an unknown package" if entry.dist is None else f"the package {entry.dist.name}"
    what = f"{key}.format: the reader {entry.name} of {package} ({entry.value})"
    try:
        reader = entry.load()
    except Exception as error:
        raise InputError(
            f"{what} cannot be loaded: {type(error).__name__}: {error}: repair the package, or "
            "uninstall it"
        ) from error
    if not (isinstance(reader, type) and issubclass(reader, Reader)):
        raise InputError(f"{what} is no class that derives from Reader of kdescent_dist")
    if getattr(reader, "format", None) != entry.name:
        raise InputError(f"{what} must have the name of its entry point as its format")
    return reader


def _formats() -> str:
    names = [reader.format for reader in READERS] + [entry.name for entry in _installed()]
    return ", ".join(dict.fromkeys(names))
