"""Catalogs: read the columns that a fit needs, select rows, derive columns, and check them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdescent_dist.catalogs.partition import SelectedRows
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.distributed.processes import Processes

ALONE = Processes(())


@dataclass(frozen=True)
class Catalog:
    """Columns of equal length, all finite, with weights.

    Attributes:
        columns: names to (n,) arrays, in double precision unless it was read in another one.
        weights: (n,) non-negative weights, in the same.
        dropped: rows that were left out, counted by the reason.
        source: where the catalog comes from.
    """

    columns: dict[str, np.ndarray]
    weights: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    source: str = ""

    def __len__(self) -> int:
        return len(self.weights)


class CatalogReader:
    """A catalog whose rows are selected, and of which each process takes those that it needs.

    Attributes:
        total: rows of the whole catalog.
        dropped: rows of the whole file that were left out, counted by the reason.
        source: where the catalog comes from.
        scales: mean and standard deviation of the columns that are standardized, by name.
    """

    def __init__(self, rows: SelectedRows) -> None:
        self._rows = rows
        self.total = rows.total
        self.dropped = dict(rows.dropped)
        self.source = rows.source
        self.scales = dict(rows.scales)

    def rows(
        self,
        first: int = 0,
        last: int | None = None,
        *,
        chosen: np.ndarray | None = None,
        release: bool = False,
    ) -> Catalog:
        """Rows ``first`` to ``last`` (excluded) of the catalog, by default all of them.

        Those of this process's share of the file are at hand; the others are read. The arrays
        may share memory with those of another call: do not change them.

        Args:
            first: number of the first row.
            last: number of the row after the last one; by default there is none.
            chosen: ascending row numbers: take rows ``chosen[first:last]``.
            release: forget the rows that are at hand while they are copied; the last call.

        Raises:
            InputError: there are no such rows, or they cannot be read.
        """
        columns, weights = self._rows.take(first, last, chosen, release)
        return Catalog(columns, weights, dict(self.dropped), self.source)


def open_catalog(
    config: CatalogConfig,
    *,
    required: Sequence[str],
    seed: int = 0,
    key: str = "catalog",
    processes: Processes = ALONE,
    chunk_rows: int | None = None,
    held_bytes: int | None = None,
    dtype: Any = np.float64,
    exact: Sequence[str] = (),
) -> CatalogReader:
    """Select the rows of a catalog, by one or several processes that call this together.

    In this order: the needed columns are read; rows with a missing value (a sentinel) in them go;
    columns are derived; rows where ``config.where`` is false go; non-finite rows are refused, or
    go; a subsample is drawn; columns are standardized, by moments of the rows before it was drawn.
    The catalog is the same for any number of processes: each reads a part of the file, in chunks,
    and they tell each other how many rows are left of it.

    Args:
        config: where the catalog comes from, and what to do with it.
        required: names of the columns to return; each is derived in ``config.columns``, or is a
            column of the file.
        seed: of the random choice of a subsample.
        key: the config key of ``config``, for messages.
        processes: who calls this together; by default this process alone.
        chunk_rows: rows of the file that are in memory at a time; by default up to 262,144.
        held_bytes: how much of the selected rows to hold in memory instead of reading them again;
            by default all of them, or 1 GiB before a subsample is drawn.
        dtype: of the columns and weights that are returned; rows are selected, and columns
            derived, in double precision. What is not finite in it counts as not finite.
        exact: names of the columns whose integers must not be rounded in ``dtype``.

    Raises:
        InputError: names the key or the column at fault, and what to do; the same on every
            process. It names the process at fault, too, where only some of them fail.
        RuntimeError: another process failed for a reason that is not the input.
    """
    rows = SelectedRows(
        config,
        required,
        key,
        seed=seed,
        processes=processes,
        chunk_rows=chunk_rows,
        held_bytes=held_bytes,
        dtype=dtype,
        exact=exact,
    )
    return CatalogReader(rows)


def load_catalog(
    config: CatalogConfig, *, required: Sequence[str], seed: int = 0, key: str = "catalog"
) -> Catalog:
    """Load a whole catalog; for the arguments and what is selected, see ``open_catalog``.

    Returns:
        The catalog, in the order of the file.

    Raises:
        InputError: names the key or the column at fault, and what to do.
    """
    return open_catalog(config, required=required, seed=seed, key=key).rows()
