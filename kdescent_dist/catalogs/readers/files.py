"""Tables in files of all formats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from csv import Error as CsvError
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

from kdescent_dist.catalogs.readers.fits import FitsTable
from kdescent_dist.catalogs.readers.hdf5 import Hdf5Table
from kdescent_dist.catalogs.readers.npy import NpyTable
from kdescent_dist.catalogs.readers.npz import NpzTable
from kdescent_dist.catalogs.readers.parquet import ParquetTable
from kdescent_dist.catalogs.readers.table import Columns, Table
from kdescent_dist.catalogs.readers.text import CsvTable
from kdescent_dist.config.errors import InputError

SUFFIXES = {
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".hdf": "hdf5",
    ".he5": "hdf5",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".parq": "parquet",
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".fit.gz": "fits",
    ".fits.fz": "fits",
    ".npz": "npz",
    ".npy": "npy",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".ecsv": "csv",
    ".txt": "csv",
}
FORMATS: Mapping[str, Callable[[Path, str | None, str], Table]] = {
    "hdf5": Hdf5Table,
    "parquet": ParquetTable,
    "fits": FitsTable,
    "npz": NpzTable,
    "npy": NpyTable,
    "csv": CsvTable,
}
READ_ERRORS = (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError, CsvError)


class FileTable(Table):
    """The table in a file, of any format."""

    def __init__(self, path: Path, *, format: str | None, group: str | None, key: str) -> None:
        """Open the file.

        Args:
            path: an existing file, or a folder of Parquet files.
            format: hdf5, parquet, fits, npz, npy or csv; None for that of the suffix, or for
                Parquet in a folder.
            group: group of an HDF5 file, or extension of a FITS file.
            key: prefix of the config keys in messages.

        Raises:
            InputError: the format or the group is unknown, the file is not of this format, or
                the library that reads it is not installed. Reading raises it too, where rows are
                damaged.
        """
        if format is None and path.is_dir():
            format = "parquet"
        elif format is None:
            format = next((f for s, f in SUFFIXES.items() if path.name.lower().endswith(s)), None)
            if format is None:
                raise InputError(
                    f"{key}.format: the name {path.name} does not tell: set it to one of "
                    f"{', '.join(FORMATS)}"
                )
        if format not in FORMATS:
            raise InputError(f"{key}.format={format}: must be one of {', '.join(FORMATS)}")
        if group is not None and format not in ("hdf5", "fits"):
            raise InputError(f"{key}.group={group}: a {format} file has no groups, leave it out")
        if path.is_dir() and format != "parquet":
            raise InputError(f"{key}.path={path}: is a folder, not a file of format {format}")
        self._where = f"{key}.path={path}: cannot be read as {format}"
        with self._explained():
            self._table = FORMATS[format](path, group, key)
        self.names, self.part = self._table.names, self._table.part
        self.left_out = self._table.left_out

    def elsewhere(self, name: str) -> str | None:
        return self._table.elsewhere(name)

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        with self._explained():
            return self._table.lengths(names)

    def verify(self, names: Sequence[str]) -> None:
        with self._explained():
            self._table.verify(names)

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        with self._explained():
            return self._table.read(names, first, last)

    def close(self) -> None:
        self._table.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except READ_ERRORS as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"{self._where}: {reason}") from error
