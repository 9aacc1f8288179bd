"""What a table offers, whatever its format."""

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
    """Named columns of rows; a context manager, which closes the file.

    Attributes:
        names: of all columns.
        part: which of several tables in the file this is, or nothing.
        left_out: further rows of the file that cannot be read, counted by the reason.
    """

    names: list[str]
    part: str = ""
    left_out: Mapping[str, int] = MappingProxyType({})

    def elsewhere(self, name: str) -> str | None:
        """The group of another table in the file that has a column of this name, or None."""
        return None

    @abstractmethod
    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        """The number of rows of each of these columns; reads none of them."""

    def verify(self, names: Sequence[str]) -> None:
        """Check these columns against their checksums, where the format has some to check apart.

        This reads all of them. What reading a column to its last row checks is not checked here.
        """
        return

    @abstractmethod
    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        """Rows ``first`` to ``last`` (excluded) of these columns.

        Columns have shape (rows,) or (rows, entries) and are as they are in the file; they may be
        part of it, mapped into memory, and cannot be written to. A column has the same type in
        every range of rows. Ranges that follow each other are read best.
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

    A reader that finds damage raises ``OSError``, ``ValueError``, ``KeyError`` or ``EOFError``,
    with a message that says what is wrong; the name of the file is put before it.

    Attributes:
        format: name of the format in the config.
        suffixes: ends of the names of such files, in lower case; none where the format must be
            set in the config.
        takes_group: whether one of several tables in the file can be named.
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
            path: what to open; it exists, and is a file unless the reader takes folders.
            group: which of several tables in it, None for the one that is found first; always
                None unless the reader takes groups.
            key: prefix of the config keys in messages.

        Raises:
            InputError: the group is unknown, or a library is not installed.
        """


def also_within_common_group(found: Mapping[str, Column]) -> dict[str, Column]:
    """Columns also by their names in the group that all share: a lone table needs no ``group``."""
    common = os.path.commonpath([os.path.dirname(name) for name in found]) if found else ""
    if not common:
        return dict(found)
    return {**found, **{name.removeprefix(common + "/"): item for name, item in found.items()}}


def optional(module: str, format: str, path: Path, key: str) -> Any:
    """Import the library that reads a format.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{key}.path={path}: reading {format} needs {module.split('.')[0]}: "
            f"pip install kdescent-dist[io]"
        ) from error
