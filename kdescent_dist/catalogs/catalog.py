"""Catalogs: read the columns that a fit needs, select rows, derive columns, and check them."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from kdescent_dist.catalogs.chunks import Chunks, open_chunks
from kdescent_dist.catalogs.column_statistics import ColumnRanges, Scale, scales
from kdescent_dist.catalogs.partition import Catalog, Partition
from kdescent_dist.catalogs.readers import Table
from kdescent_dist.catalogs.selected_part import SelectedPart
from kdescent_dist.catalogs.subsample import SUBSAMPLES, Numbering
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.distributed.processes import Processes

ALONE = Processes(())
HELD_BYTES = 1 << 30  # most memory for selected rows before a subsample is drawn


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
) -> Partition:
    """Select the rows of a catalog; all processes call this function together.

    The steps are: read the needed columns; drop rows with a missing value (a sentinel) in these
    columns; derive columns; drop rows where ``config.where`` is false; drop or refuse non-finite
    rows; draw a subsample; standardize columns by their mean and standard deviation before the
    subsample.

    The catalog is the same for any number of processes. Each process selects rows in a contiguous
    share of the file, one chunk at a time. Processes exchange the numbers of selected rows, but no
    rows.

    Args:
        config: source of the catalog and selection.
        required: names of the columns to return; each is derived in ``config.columns``, or is a
            column of the file.
        seed: seed of the subsample.
        key: the config key of ``config``, for messages.
        processes: the processes that share the file; by default this process alone.
        chunk_rows: number of rows per chunk of the file; by default up to 262,144.
        held_bytes: most memory for selected rows; further rows are read again when needed. By
            default there is no limit, or 1 GiB before a subsample is drawn.
        dtype: type of the returned columns and weights. Rows are selected, and columns derived, in
            double precision. A value that overflows in ``dtype`` counts as not finite.
        exact: names of the columns whose integers must not be rounded in ``dtype``.

    Returns:
        The selected rows.

    Raises:
        InputError: names the key or the column at fault, and a remedy; all processes raise the
            same error. If some processes succeed, the message names the first that failed.
        RuntimeError: another process failed for a reason other than the input.
    """
    dtype = np.dtype(dtype)
    with ExitStack() as stack:

        def opened() -> tuple[Chunks, Table]:
            _check(config, required, key)
            return open_chunks(
                config,
                required,
                key,
                processes=processes,
                chunk_rows=chunk_rows,
                dtype=dtype,
                exact=exact,
                stack=stack,
            )

        chunks, table = processes.together(opened)
        _check_rows(chunks, processes)
        own = processes.share(len(chunks))
        capacity = _capacity(config, chunks, own, dtype, held_bytes)
        part = SelectedPart(chunks, own, capacity, dtype, config.standardize)
        processes.together(lambda: part.select(table))
        chunks.check_widths(processes.exchange(part.widths))
        tally, kept = processes.added(part.tally), processes.added(part.kept)
        dropped = {**table.left_out, **chunks.selection.reasons.dropped(tally, chunks.rows)}
        numbering = Numbering(np.append(0, np.cumsum(kept)))
        buffer, held, ranges = part.buffer, part.held, part.ranges
        if config.subsample is not None:
            left = numbering.total
            numbering = _draw(config, numbering, seed, chunks)
            if numbering.total < left:
                dropped["not in the subsample"] = left - numbering.total
            buffer = processes.together(lambda: part.subsample(table, numbering))
            held, ranges = own, ColumnRanges.of(buffer.arrays, len(required))
    ranges.of_all(processes).check(required, numbering.total, key)
    found: dict[str, Scale] = {}
    if config.standardize:
        moments = part.moments[slice(*own)]
        found = scales(config.standardize, moments, len(chunks), processes, key)
    return Partition(chunks, numbering, buffer, held, found, dropped)


def load_catalog(
    config: CatalogConfig, *, required: Sequence[str], seed: int = 0, key: str = "catalog"
) -> Catalog:
    """Load a whole catalog; see ``open_catalog`` for the arguments and the selection.

    Returns:
        The catalog, in the order of the file.

    Raises:
        InputError: names the key or the column at fault, and a remedy.
    """
    return open_catalog(config, required=required, seed=seed, key=key).rows()


def _check(config: CatalogConfig, required: Sequence[str], key: str) -> None:
    if not required:
        raise InputError(f"{key}: none of its columns is used")
    if config.subsample_mode not in SUBSAMPLES:
        raise InputError(
            f"{key}.subsample_mode={config.subsample_mode}: must be one of {', '.join(SUBSAMPLES)}"
        )


def _check_rows(chunks: Chunks, processes: Processes) -> None:
    """Check that all processes see the same number of rows."""
    rows = processes.exchange(np.array([chunks.rows]))[:, 0]
    if odd := np.flatnonzero(rows != rows[0]).tolist():
        raise InputError(
            f"{chunks.key}: process {odd[0]} sees {rows[odd[0]]} rows of {chunks.name}, and "
            f"process 0 sees {rows[0]}: all must be given the same file"
        )


def _capacity(
    config: CatalogConfig,
    chunks: Chunks,
    own: tuple[int, int],
    dtype: np.dtype,
    held_bytes: int | None,
) -> int:
    """The largest number of selected rows that this process holds in memory."""
    capacity = int(chunks.starts[own[1]] - chunks.starts[own[0]])
    if held_bytes is None and config.subsample is not None:
        held_bytes = HELD_BYTES
    if held_bytes is None:
        return capacity
    return min(capacity, held_bytes // (dtype.itemsize * chunks.selection.arrays))


def _draw(config: CatalogConfig, selected: Numbering, seed: int, chunks: Chunks) -> Numbering:
    """Draw a subsample of the selected rows, the same on every process."""
    size, left = config.subsample, selected.total
    assert size is not None
    if not 1 <= size <= left:
        raise InputError(
            f"{chunks.key}.subsample={size}: must be between 1 and {left}, the rows that are left "
            f"of {chunks.name}"
        )
    drawn = SUBSAMPLES[config.subsample_mode](left, size, np.random.default_rng(seed))
    return Numbering(selected.selected, drawn)
