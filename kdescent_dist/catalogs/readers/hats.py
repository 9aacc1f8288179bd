"""HATS catalogs: folders of Parquet files by sky position, with a file of properties.

The names follow the Hierarchical Adaptive Tiling Scheme (IVOA). Below the folder with
``hats.properties``, rows are in ``dataset/Norder=K/Dir=D/Npix=N.parquet``, or in files of a folder
``Npix=N``. Other Parquet files, such as a thumbnail of the data, repeat some of the rows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdescent_dist.config.errors import InputError

PROPERTIES, COLLECTION = "hats.properties", "collection.properties"
BEFORE = "properties"  # name of the file before version 0.6
KEYS = ("Norder", "Dir", "Npix")
PARTITION = re.compile(r"Norder=\d+/(Dir=\d+/)?Npix=\d+[./].*")


@dataclass(frozen=True)
class Hats:
    """A HATS catalog.

    Attributes:
        properties: the file of properties.
        folder: the folder of the partitions.
        rows: expected number of rows, None if not known.
    """

    properties: Path
    folder: Path
    rows: int | None

    def partitions(self, files: Sequence[Path], key: str) -> list[Path]:
        """The partition files among some files.

        Raises:
            InputError: there are no partition files.
        """
        below = [p for p in files if p.is_relative_to(self.folder)]
        places = [p.relative_to(self.folder).as_posix() for p in below]
        found = [p for p, place in zip(below, places, strict=True) if PARTITION.fullmatch(place)]
        if not found:
            raise InputError(
                f"{key}.path: {self.folder} holds no partition of a HATS catalog, such as "
                f"Norder=0/Dir=0/Npix=0.parquet, but {self.properties} is there: copy it again"
            )
        return found

    def check(self, files: int, rows: int, key: str) -> None:
        """Check the number of rows in all partitions.

        Raises:
            InputError: the properties give another number.
        """
        if self.rows not in (None, rows):
            raise InputError(
                f"{key}.path: the {files} partition files of {self.folder} hold {rows} rows, but "
                f"{self.properties} tells of {self.rows}: the copy is not complete, or has files "
                "of another catalog: copy it again"
            )


def find_hats(path: Path, key: str) -> Hats | None:
    """The HATS catalog in a folder, None if the folder is not a HATS catalog.

    Args:
        path: the folder of a catalog, or its folder ``dataset``.
        key: prefix of the config keys in messages.

    Raises:
        InputError: the folder holds several catalogs, of which the user must name one.
    """
    root = path.parent if path.name == "dataset" else path
    for name in (PROPERTIES, BEFORE):
        properties = root / name
        if properties.is_file():
            told = _read(properties)
            if name == PROPERTIES or any(k.startswith("hats_") for k in told):
                folder = root / "dataset" if (root / "dataset").is_dir() else root
                rows = told.get("hats_nrows")
                return Hats(properties, folder, None if rows is None else int(rows))
    within = sorted(p.parent.relative_to(path).as_posix() for p in path.rglob(PROPERTIES))
    if within:
        primary = _read(path / COLLECTION).get("hats_primary_table_url")
        hint = f" ({primary} is the primary one)" if primary else ""
        raise InputError(
            f"{key}.path={path}: holds HATS catalogs, some of whose rows may be in several of "
            f"them: name the folder of one: {', '.join(within)}{hint}"
        )
    return None


def _read(path: Path) -> dict[str, str]:
    """Lines of the form key=value; empty if there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith(("#", "!")))
    return {name.strip(): value.strip() for name, _, value in pairs}
