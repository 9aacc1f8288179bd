"""Tables in files of all formats."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from csv import Error as CsvError
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

from kdescent_dist.catalogs.readers.registry import find_reader
from kdescent_dist.catalogs.readers.table import Columns, Table
from kdescent_dist.config.errors import InputError

READ_ERRORS = (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError, CsvError)


class FileTable(Table):
    """The table in a file, of any format."""

    def __init__(self, path: Path, *, format: str | None, group: str | None, key: str) -> None:
        """Open the file.

        Args:
            path: an existing file, or a folder if the format allows folders.
            format: name of the format, None to infer the format from the suffix; see
                ``find_reader``.
            group: name of the table, if the file has several tables, such as a group of an HDF5
                file or an extension of a FITS file.
            key: prefix of the config keys in messages.

        Raises:
            InputError: the format or the group is unknown, the file has another format, or a
                library is not installed. Methods that read raise it, too, if the file is damaged.
        """
        reader = find_reader(path, format, key)
        if group is not None and not reader.takes_group:
            raise InputError(
                f"{key}.group={group}: a {reader.format} file has no groups, leave it out"
            )
        if path.is_dir() and not reader.takes_folder:
            raise InputError(
                f"{key}.path={path}: is a folder, not a file of format {reader.format}"
            )
        self._where = f"{key}.path={path}: cannot be read as {reader.format}"
        with self._explained():
            self._table = reader(path, group, key)
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
