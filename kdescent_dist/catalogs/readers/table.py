"""The interface of tables and of readers of all formats."""

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from kdescent_dist.config.errors import InputError

Columns = dict[str, np.ndarray]
Column = TypeVar("Column")


class Table(ABC):
    """Named columns of rows. A table is a context manager, which closes the file.

    Attributes:
        names: names of all columns.
        part: name of this table if the file has several tables, else empty.
        left_out: number of rows of the file that cannot be read, by reason.
    """

    names: list[str]
    part: str = ""
    left_out: Mapping[str, int] = MappingProxyType({})

    def elsewhere(self, name: str) -> str | None:
        """The group of another table in the file that has a column of this name, or None."""
        return None

    @abstractmethod
    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        """The number of rows of each of these columns, without reading the columns."""

    def verify(self, names: Sequence[str]) -> None:
        """Check these columns against their checksums, if ``read`` does not check them.

        This reads the columns as a whole.
        """
        return

    @abstractmethod
    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        """Rows ``first`` to ``last`` (excluded) of these columns.

        Columns have shape (rows,) or (rows, entries) and the type of the file. Columns may be
        memory-mapped and read-only. A column has the same type in every range of rows. Consecutive
        ranges are the fastest to read.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Reader(Table):
    """The table in a file or a folder of one format.

    For a damaged file, a reader raises ``OSError``, ``ValueError``, ``KeyError`` or ``EOFError``
    with a reason; the caller adds the name of the file.

    Attributes:
        format: name of the format in the config.
        suffixes: suffixes of file names, in lower case; empty if the config must set the format.
        takes_group: whether ``group`` can name a table in the file.
        takes_folder: whether the path may be a folder.
    """

    format: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    takes_group: ClassVar[bool] = False
    takes_folder: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, path: Path, group: str | None, key: str) -> None:
        """Open the file.

        Args:
            path: an existing file, or a folder if ``takes_folder``.
            group: name of the table, None for the first table; always None unless
                ``takes_group``.
            key: prefix of the config keys in messages.

        Raises:
            InputError: the group is unknown, or a library is not installed.
        """


def also_within_common_group(found: Mapping[str, Column]) -> dict[str, Column]:
    """Columns by their paths, and also by their names in the common group of all columns.

    So a file with a single table needs no ``group``.
    """
    common = os.path.commonpath([os.path.dirname(name) for name in found]) if found else ""
    if not common:
        return dict(found)
    return {**found, **{name.removeprefix(common + "/"): item for name, item in found.items()}}


def optional(module: str, format: str, path: Path, key: str) -> Any:
    """Import the library that reads a format.

    Raises:
        InputError: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{key}.path={path}: reading {format} needs {module.split('.')[0]}: "
            f"pip install kdescent-dist[io]"
        ) from error
