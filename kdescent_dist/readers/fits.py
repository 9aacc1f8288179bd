"""FITS files: a binary or ASCII table in one of the extensions."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.errors import InputError, closest
from kdescent_dist.readers.table import Columns, Table, optional

SIGNATURE = b"SIMPLE"  # what a file that is not compressed begins with


class FitsTable(Table):
    """The first table of a file, or the one of a name or number.

    Columns of plain numbers are mapped into memory, of which only the rows that are asked for are
    touched; astropy, which converts the others, copies whole columns.
    """

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        fits = optional("astropy.io.fits", "FITS", path, key)
        self._hdus = fits.open(path, memmap=True)
        try:
            self._table = self._find(fits, path, group, key)
            self.names = list(self._table.columns.names)
            self._rows: int = self._table.header["NAXIS2"]
            self._plain = {c.name for c in self._table.columns if _is_plain(c)}
            self._mapped = self._map(path)
        except BaseException:
            self._hdus.close()
            raise

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(names, self._rows)

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        columns = {}
        for name in names:
            if self._mapped is not None and name in self._plain:
                values = np.array(self._mapped[name][first:last])
            else:
                values = np.array(self._table.data[name][first:last])
            null = self._table.columns[name].null
            if null is not None and values.dtype.kind in "iu":
                values = np.where(values == null, np.nan, values)
            columns[name] = values
        return columns

    def close(self) -> None:
        self._mapped = None
        self._hdus.close()

    def _find(self, fits: Any, path: Path, group: str | None, key: str) -> Any:
        tables = [h for h in self._hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)]
        if group is not None:
            wanted = group.upper()
            tables = [h for h in tables if wanted in (h.name, str(self._hdus.index_of(h)))]
        if not tables:
            names = [h.name for h in self._hdus if h.name]
            at_fault = "" if group is None else f"{key}.group={group}: "
            raise InputError(f"{at_fault}no such table in {path}: {closest(group or '', names)}")
        return tables[0]

    def _map(self, path: Path) -> np.ndarray | None:
        """The records in the file, or None where they cannot be mapped into memory."""
        with path.open("rb") as file:
            compressed = file.read(len(SIGNATURE)) != SIGNATURE
        if compressed or not self._rows or not self._plain:
            return None
        record = self._table.columns.dtype.newbyteorder(">")
        return np.memmap(path, record, "r", self._table.fileinfo()["datLoc"], (self._rows,))


def _is_plain(column: Any) -> bool:
    """Whether the values are numbers as they stand in the file: unscaled, in at most a vector."""
    unscaled = column.bscale in (None, "", 1) and column.bzero in (None, "", 0)
    plain = re.fullmatch(r"[1-9]?\d*[BIJKED]", str(column.format)) is not None
    vector = column.dim is None or re.fullmatch(r"\(\d+\)", str(column.dim)) is not None
    return plain and unscaled and vector
