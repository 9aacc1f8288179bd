"""NPZ files: uncompressed arrays are memory-mapped, compressed arrays are unpacked row by row."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from kdescent_dist.catalogs.readers.npy import array_header
from kdescent_dist.catalogs.readers.table import Columns, Reader

LOCAL_HEADER_BYTES = 30  # header of a member of a ZIP archive, before its name and extra field
CHECKED_BYTES = 1 << 20  # bytes per call of crc32


@dataclass(frozen=True)
class _Array:
    """The type and place of an array in its member of the archive."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int


class NpzTable(Reader):
    """The arrays of a file, by name."""

    format = "npz"
    suffixes = (".npz",)

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                raise ValueError(
                    "it holds a single array, as in a .npy file: set the format to npy"
                )
        self._path = path
        self._zip = ZipFile(path)
        members = [m for m in self._zip.infolist() if m.filename.endswith(".npy")]
        self._members = {m.filename.removesuffix(".npy"): m for m in members}
        self._mapped: dict[str, np.ndarray] = {}
        self._streams: dict[str, tuple[_Array, IO[bytes]]] = {}
        self._columns = self._find_columns()
        self.names = list(self._columns)

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        lengths = {}
        for name in names:
            member, _ = self._columns[name]
            with self._zip.open(self._members[member]) as stream:
                lengths[name] = _checked(member, _header(stream)).shape[0]
        return lengths

    def verify(self, names: Sequence[str]) -> None:
        for name in {self._columns[name][0]: None for name in names}:
            if self._members[name].compress_type == ZIP_STORED:
                self._check_sum(name, self._members[name])

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        arrays: Columns = {}
        for member in {self._columns[name][0]: None for name in names}:
            arrays[member] = self._read(member, first, last)
        columns = {}
        for name in names:
            member, field = self._columns[name]
            columns[name] = arrays[member] if field is None else arrays[member][field]
        return columns

    def close(self) -> None:
        self._mapped.clear()
        for _, stream in self._streams.values():
            stream.close()
        self._zip.close()

    def _find_columns(self) -> dict[str, tuple[str, str | None]]:
        """Arrays by name, and the fields of structured arrays.

        Fields are named ``array/field``, and also ``field`` if no other column has this name.
        """
        found: dict[str, tuple[str, str | None]] = {}
        for name, member in self._members.items():
            with self._zip.open(member) as stream:
                fields = _header(stream).dtype.names
            found |= {f"{name}/{field}": (name, field) for field in fields or ()}
            if fields is None:
                found[name] = name, None
        fields = [field for _, field in found.values() if field is not None]
        short = {f: (name, f) for name, f in found.values() if f and fields.count(f) == 1}
        return short | found

    def _read(self, name: str, first: int, last: int) -> np.ndarray:
        if name not in self._mapped and name not in self._streams:
            self._open(name, self._members[name])
        if name in self._mapped:
            return self._mapped[name][first:last]
        array, stream = self._streams[name]
        row = array.dtype.itemsize * math.prod(array.shape[1:])
        stream.seek(array.start + first * row)
        last = min(last, array.shape[0])
        values = np.frombuffer(stream.read((last - first) * row), array.dtype)
        if last == array.shape[0]:
            stream.read(1)  # at the end of the stream, zipfile checks the CRC-32
        return values.reshape(last - first, *array.shape[1:])

    def _open(self, name: str, member: ZipInfo) -> None:
        stream = self._zip.open(member)
        array = _checked(name, _header(stream))
        if member.compress_type == ZIP_STORED and math.prod(array.shape):
            order = "F" if array.fortran_order else "C"
            start = self._start(member) + array.start
            self._mapped[name] = np.asarray(
                np.memmap(self._path, array.dtype, "r", start, array.shape, order=order)
            )
        elif array.fortran_order and len(array.shape) > 1:  # rows are not contiguous
            flat = np.frombuffer(stream.read(), array.dtype)
            self._mapped[name] = flat.reshape(array.shape, order="F")
        else:
            self._streams[name] = array, stream
            return
        stream.close()

    def _check_sum(self, name: str, member: ZipInfo) -> None:
        """Check the CRC-32 of an uncompressed member."""
        size, found = member.file_size, 0
        stored = np.memmap(self._path, np.uint8, "r", self._start(member), (size,)).data
        for first in range(0, size, CHECKED_BYTES):
            found = zlib.crc32(stored[first : first + CHECKED_BYTES], found)
        if found != member.CRC:
            raise ValueError(f"array {name!r} is damaged, its CRC-32 differs: copy the file again")

    def _start(self, member: ZipInfo) -> int:
        """Offset of the bytes of a member in the archive."""
        with self._path.open("rb") as file:
            file.seek(member.header_offset)
            local = file.read(LOCAL_HEADER_BYTES)
        lengths = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
        return member.header_offset + LOCAL_HEADER_BYTES + sum(lengths)


def _header(stream: IO[bytes]) -> _Array:
    return _Array(*array_header(stream), stream.tell())


def _checked(name: str, array: _Array) -> _Array:
    if array.dtype.hasobject:
        raise ValueError(f"array {name!r} holds Python objects, which are not loaded")
    if not array.shape:
        raise ValueError(f"array {name!r} is a single value, not one of each row")
    return array
