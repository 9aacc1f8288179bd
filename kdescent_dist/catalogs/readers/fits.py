"""FITS files: a binary or ASCII table in an extension."""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.catalogs.readers.table import Columns, Reader, optional
from kdescent_dist.config.errors import InputError, closest

log = logging.getLogger(__name__)

SIGNATURE = b"SIMPLE"  # first bytes of an uncompressed file

Values = Callable[[int, int], np.ndarray]


class FitsTable(Reader):
    """The first table of a file, or the table with a given name or number.

    Columns of numbers and text are memory-mapped: only the requested rows are read. Other columns
    are converted by astropy, which copies whole columns.
    """

    format = "fits"
    suffixes = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")
    takes_group = True

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        fits = optional("astropy.io.fits", "FITS", path, key)
        self._hdus = fits.open(path, memmap=True)
        try:
            self._tables = [
                (i, h)
                for i, h in enumerate(self._hdus)
                if isinstance(h, fits.BinTableHDU | fits.TableHDU)
                and not isinstance(h, fits.CompImageHDU)
            ]
            number, self._table = self._find(path, group, key)
            self.names = list(self._table.columns.names)
            self._rows: int = self._table.header["NAXIS2"]
            mapped = self._map(path)
            self._columns = {
                c.name: self._values(c, None if mapped is None else mapped[c.name])
                for c in self._table.columns
            }
        except BaseException:
            self._hdus.close()
            raise
        if len(self._tables) > 1:
            self.part = self._table.name or str(number)

    def elsewhere(self, name: str) -> str | None:
        for number, table in self._tables:
            if table is not self._table and name in table.columns.names:
                return table.name or str(number)
        return None

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(names, self._rows)

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        return {name: self._columns[name](first, last) for name in names}

    def close(self) -> None:
        self._columns.clear()
        self._hdus.close()

    def _find(self, path: Path, group: str | None, key: str) -> tuple[int, Any]:
        known = [f"{i} ({h.name})" if h.name else str(i) for i, h in self._tables]
        if not known:
            raise InputError(f"{key}.path={path}: no table in any of its {len(self._hdus)} HDUs")
        if group is None:
            if len(known) > 1:
                log.info("%s has tables %s: the first is taken", path, ", ".join(known))
            return self._tables[0]
        for number, table in self._tables:
            if group.strip().upper() in (table.name.upper(), str(number)):
                return number, table
        names = [h.name for _, h in self._tables if h.name]
        hint = closest(group.upper(), names)
        raise InputError(
            f"{key}.group={group}: no such table in {path}: "
            + (hint if hint.startswith("did") else f"there are: {', '.join(known)}")
        )

    def _map(self, path: Path) -> np.ndarray | None:
        """The memory-mapped records of the file, None if the file cannot be mapped."""
        with path.open("rb") as file:
            compressed = file.read(len(SIGNATURE)) != SIGNATURE
        binary = self._table.header["XTENSION"].strip() == "BINTABLE"
        if compressed or not binary or not self._rows:
            return None
        record = self._table.columns.dtype.newbyteorder(">")
        place = self._table.fileinfo()["datLoc"]
        return np.asarray(np.memmap(path, record, "r", place, (self._rows,)))

    def _values(self, column: Any, stored: np.ndarray | None) -> Values:
        """A function that reads a range of rows of a column."""
        if stored is None or not _is_plain(column):
            return lambda first, last: self._converted(column, first, last)
        scale, zero = column.bscale or 1, column.bzero or 0
        whole = scale == 1 and float(zero).is_integer()
        if column.null is None and whole and zero == 0:
            return lambda first, last: stored[first:last]
        return lambda first, last: _scaled(
            stored[first:last], scale, int(zero) if whole else zero, column.null
        )

    def _converted(self, column: Any, first: int, last: int) -> np.ndarray:
        """A range of rows, read by astropy, which converts the whole column on first use."""
        values = np.array(self._table.data[column.name][first:last])
        null = column.null
        if null is not None and values.dtype.kind in "iu":
            values = np.where(values == null, np.nan, values)
        return values


def _is_plain(column: Any) -> bool:
    """Whether a column holds plain numbers, vectors of numbers or text."""
    numbers = re.fullmatch(r"[1-9]?\d*[BIJKED]", str(column.format)) is not None
    text = re.fullmatch(r"\d*A", str(column.format)) is not None
    vector = column.dim is None or re.fullmatch(r"\(\d+\)", str(column.dim)) is not None
    return vector and (numbers or text)


def _scaled(stored: np.ndarray, scale: float, zero: float, null: Any) -> np.ndarray:
    """``stored * scale + zero``, in integers if possible; NaN for nulls."""
    unsigned = zero == 1 << 63 and stored.dtype.itemsize == 8
    if unsigned:
        values = stored.astype(np.uint64) ^ np.uint64(1 << 63)
    elif scale == 1 and isinstance(zero, int) and abs(zero) < 1 << 62:
        values = stored.astype(np.int64) + zero
    else:
        values = stored.astype(np.float64) * scale + zero
    return values if null is None else np.where(stored == null, np.nan, values)
