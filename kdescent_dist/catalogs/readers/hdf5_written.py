"""Checks that the rows of an HDF5 dataset were written; HDF5 returns a fill value for the rest."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py


def opened(path: Path | str) -> Any:
    """Open a file for reading.

    Raises:
        OSError: the file is not an HDF5 file, or is incomplete.
    """
    try:
        # Reading needs no lock, and many parallel file systems do not support locks.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking" not in str(error):
            raise
        return h5py.File(path, "r")  # this process has opened the file before, with locks


def check_written(dataset: Any) -> None:
    """Check that all values of a dataset were written, or have a user-defined fill value.

    No values are read.

    Raises:
        ValueError: values were never written, or a file that holds values is missing.
    """
    if not dataset.size:
        return
    what = f"data set {dataset.name!r} of {dataset.file.filename}"
    external = dataset.external or ()
    plist = dataset.id.get_create_plist()
    if dataset.is_virtual:
        written = sum(_check_source(dataset, source) for source in dataset.virtual_sources())
        expected = dataset.size
    elif dataset.chunks is not None:
        written = dataset.id.get_num_chunks()
        pairs = zip(dataset.shape, dataset.chunks, strict=True)
        expected = math.prod(-(-size // chunk) for size, chunk in pairs)
    elif external:
        written, expected = sum(_external_bytes(what, *part) for part in external), dataset.nbytes
    else:
        written, expected = dataset.id.get_storage_size(), 1
    chosen = plist.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    if written < expected and (external or not chosen):
        raise ValueError(f"{what}: rows were never written: the file is incomplete")


def _check_source(dataset: Any, source: Any) -> int:
    """Check a source of a virtual dataset; returns the number of values from this source."""
    what = f"virtual data set {dataset.name!r} of {dataset.file.filename}"
    try:
        number = source.vspace.get_select_npoints()
    except RuntimeError:  # an unlimited selection: the rows of all existing source files
        return dataset.size
    if source.file_name == ".":
        _check_taken(what, dataset.file, source)
        return number
    places = _places(source.file_name, dataset.file.filename)
    found = next((place for place in places if os.path.isfile(place)), None)
    if found is None:
        raise ValueError(f"{what}: its source file {source.file_name} is missing")
    with opened(found) as file:
        _check_taken(what, file, source)
    return number


def _check_taken(what: str, file: Any, source: Any) -> None:
    taken = file.get(source.dset_name)
    if not isinstance(taken, h5py.Dataset):
        raise ValueError(f"{what}: {source.file_name} has no data set {source.dset_name}")
    try:
        ends = source.src_space.get_select_bounds()[1]
        enough = all(end < size for end, size in zip(ends, taken.shape, strict=True))
    except ValueError:  # the whole source dataset is selected
        enough = taken.size >= source.vspace.get_select_npoints()
    if not enough:
        raise ValueError(
            f"{what}: data set {source.dset_name} of {source.file_name} has fewer rows than it "
            "takes of it: the file is incomplete"
        )
    check_written(taken)


def _places(name: str, virtual: str) -> Iterator[str]:
    """Paths where HDF5 looks for the source file of a virtual dataset."""
    folder = os.path.dirname(os.path.abspath(virtual))
    real = os.path.dirname(os.path.realpath(virtual))
    if os.path.isabs(name):
        yield name
        name = os.path.basename(name)
    for prefix in os.environ.get("HDF5_VDS_PREFIX", "").split(":"):
        if prefix:
            yield os.path.join(prefix.replace("${ORIGIN}", folder), name)
    yield from (os.path.join(folder, name), name, os.path.join(real, name))


def _external_bytes(what: str, name: str, offset: int, size: int) -> int:
    """Number of bytes of a dataset in an external file; HDF5 reads missing bytes as 0."""
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    path = os.path.join(prefix, name)
    if "${ORIGIN}" in prefix or not os.path.isfile(path):
        return size  # HDF5 itself finds the file, or raises
    return min(max(os.path.getsize(path) - offset, 0), size)
