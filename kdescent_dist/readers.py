"""Tables in files: of their columns, only those that are needed are read."""

import csv
import importlib
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from kdescent_dist.errors import InputError, closest

Choose = Callable[[list[str]], Collection[str]]
Columns = dict[str, np.ndarray]

SUFFIXES = {
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".hdf": "hdf5",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".npz": "npz",
    ".csv": "csv",
}
CSV_MISSING = ("", "na", "n/a", "null", "none")


def read_table(
    path: Path, choose: Choose, *, format: str | None, group: str | None, key: str
) -> Columns:
    """Read columns of a table.

    Args:
        path: an existing file.
        choose: takes the names of all columns, returns those to read.
        format: hdf5, parquet, fits, npz or csv; None for that of the suffix.
        group: group of an HDF5 file, or extension of a FITS file.
        key: prefix of the config keys in messages.

    Returns:
        Columns by name, of shape (n,) or (n, m), as they are in the file.

    Raises:
        InputError: the format or the group is unknown, the file is not of this format, or the
            library that reads it is not installed; and what ``choose`` raises.
    """
    if format is None:
        format = next((f for s, f in SUFFIXES.items() if path.name.lower().endswith(s)), None)
        if format is None:
            raise InputError(
                f"{key}.format: the name {path.name} does not tell: set it to one of "
                f"{', '.join(READERS)}"
            )
    if format not in READERS:
        raise InputError(f"{key}.format={format}: must be one of {', '.join(READERS)}")
    if group is not None and format not in ("hdf5", "fits"):
        raise InputError(f"{key}.group={group}: a {format} file has no groups, leave it out")
    try:
        return READERS[format](path, group, key, choose)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{key}.path={path}: cannot be read as {format}: {reason}") from error


def _read_hdf5(path: Path, group: str | None, key: str, choose: Choose) -> Columns:
    import h5py

    # Reading needs no lock, and many parallel file systems do not offer one.
    with h5py.File(path, "r", locking=False) as file:
        node: Any = file
        if group is not None:
            if group not in file:
                raise InputError(f"{key}.group={group}: not in {path}: {_hdf5_groups(file, group)}")
            node = file[group]
        found: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset) or item.ndim not in (1, 2):
                return
            if item.dtype.names is None:
                found[name] = item
            for part in item.dtype.names or ():  # a table of records
                found[f"{name}/{part}".lstrip("/")] = item.fields(part)

        visit("", node)
        if isinstance(node, h5py.Group):
            node.visititems(visit)
        if group is None:
            found = _also_within_common_group(found)
        return {name: found[name][:] for name in choose(list(found))}


def _also_within_common_group(found: dict[str, Any]) -> dict[str, Any]:
    """Also by their names in the group that all datasets share: a lone table needs no ``group``."""
    common = os.path.commonpath([os.path.dirname(name) for name in found]) if found else ""
    if not common:
        return found
    return found | {name.removeprefix(common + "/"): item for name, item in found.items()}


def _hdf5_groups(file: Any, group: str) -> str:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "keys") else None)
    return closest(group, names) if names else "the file has no groups, leave it out"


def _read_parquet(path: Path, group: str | None, key: str, choose: Choose) -> Columns:
    dataset = _optional("pyarrow.parquet", "Parquet", path, key).ParquetDataset(path)
    names = list(choose(dataset.schema.names))
    table = dataset.read(columns=names)
    columns = {}
    for name in names:
        # Null becomes NaN in an array of floats, and None in one of Python objects.
        values = table[name].to_numpy()
        if values.dtype == object and len(values) and isinstance(values[0], np.ndarray):
            if len({np.shape(row) for row in values}) > 1:
                raise InputError(f"{key}: the lists of column {name!r} differ in length")
            values = np.stack(list(values))
        columns[name] = values
    return columns


def _read_fits(path: Path, group: str | None, key: str, choose: Choose) -> Columns:
    fits = _optional("astropy.io.fits", "FITS", path, key)
    with fits.open(path, memmap=True) as hdus:
        tables = [h for h in hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)]
        if group is not None:
            tables = [h for h in tables if group.upper() in (h.name, str(hdus.index_of(h)))]
        if not tables:
            names = [h.name for h in hdus if h.name]
            wanted = "" if group is None else f"{key}.group={group}: "
            raise InputError(f"{wanted}no such table in {path}: {closest(group or '', names)}")
        columns = {}
        for name in choose(tables[0].columns.names):
            values = np.array(tables[0].data[name])
            null = tables[0].columns[name].null
            if null is not None and values.dtype.kind in "iu":
                values = np.where(values == null, np.nan, values)
            columns[name] = values
        return columns


def _read_npz(path: Path, group: str | None, key: str, choose: Choose) -> Columns:
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        raise ValueError("it holds a single array without a name (.npy)")
    with file:
        return {name: file[name] for name in choose(list(file.files))}


def _read_csv(path: Path, group: str | None, key: str, choose: Choose) -> Columns:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = [name.strip() for name in next(csv.reader(file), [])]
        if header:
            header[0] = header[0].removeprefix("#").strip()
        names = list(choose(header))
        converters: dict[int | str, Callable[[str], float]] = {
            header.index(name): _csv_number(name) for name in names
        }
        try:
            with warnings.catch_warnings(action="ignore"):  # "input contained no data"
                table = np.loadtxt(
                    file,
                    delimiter=",",
                    comments=None,
                    quotechar='"',
                    converters=converters,
                    usecols=[header.index(name) for name in names],
                    ndmin=2,
                )
        except ValueError as error:
            # The cause is what a converter raised; it names the column.
            raise ValueError(str(error.__cause__ or error)) from error
    return {name: table[:, i] for i, name in enumerate(names)}


def _csv_number(name: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        text = text.strip()
        if text.lower() in CSV_MISSING:
            return np.nan
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"column {name!r} is not numeric, it holds {text!r}") from None

    return convert


def _optional(module: str, format: str, path: Path, key: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{key}.path={path}: reading {format} needs {module.split('.')[0]}: "
            f"pip install kdescent-dist[io]"
        ) from error


READERS: Mapping[str, Callable[[Path, str | None, str, Choose], Columns]] = {
    "hdf5": _read_hdf5,
    "parquet": _read_parquet,
    "fits": _read_fits,
    "npz": _read_npz,
    "csv": _read_csv,
}
