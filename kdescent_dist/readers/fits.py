"""FITS files: a binary or ASCII table in one of the extensions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdescent_dist.errors import InputError, closest
from kdescent_dist.readers.table import Columns, Table, optional


class FitsTable(Table):
    """The first table of a file, or the one of a name or number."""

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        fits = optional("astropy.io.fits", "FITS", path, key)
        self._hdus = fits.open(path, memmap=True)
        try:
            tables = [h for h in self._hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)]
            if group is not None:
                wanted = group.upper()
                tables = [h for h in tables if wanted in (h.name, str(self._hdus.index_of(h)))]
            if not tables:
                known = [h.name for h in self._hdus if h.name]
                at_fault = "" if group is None else f"{key}.group={group}: "
                hint = closest(group or "", known)
                raise InputError(f"{at_fault}no such table in {path}: {hint}")
        except BaseException:
            self._hdus.close()
            raise
        self._table = tables[0]
        self._rows: int = self._table.header["NAXIS2"]
        self.names = list(self._table.columns.names)

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(names, self._rows)

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        rows = self._table.data[first:last]
        columns = {}
        for name in names:
            values = np.array(rows[name])
            null = self._table.columns[name].null
            if null is not None and values.dtype.kind in "iu":
                values = np.where(values == null, np.nan, values)
            columns[name] = values
        return columns

    def close(self) -> None:
        self._hdus.close()
