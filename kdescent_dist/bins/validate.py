"""Checks of the config of bins, and of the columns that bins use."""

from collections.abc import Mapping

import numpy as np

from kdescent_dist.bins.window_checks import check_windows
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.config.validation import check_values
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.numerics.arrays import unmasked
from kdescent_dist.pretraining.pretrainer import PRETRAINED_PER_DRAWN
from kdescent_dist.pretraining.validate import float_array

MOST_PRETRAINED = 10_000_000  # most kernels or modes of a bin


def check_bins(key: str, bins: BinsConfig) -> None:
    """Check the config of a bin, or of a grid of bins.

    Args:
        key: config key of the bin or grid, for messages.
        bins: the config.

    Raises:
        InputError: a value is not allowed; names the key, the value and the allowed values.
    """
    check_values(bins, key)
    if not bins.columns:
        raise InputError(f"{key}.columns: name at least one column")
    if len(set(bins.columns)) < len(bins.columns):
        raise InputError(f"{key}.columns: {bins.columns} names a column twice")
    check_windows(key, bins.edges, bins.windows, bins.softness)
    if bins.windows and bins.few_training == "merge":
        raise InputError(
            f"{key}.few_training=merge: windows have no neighbors to be joined with: choose drop "
            "or error"
        )
    for name in ("kernels", "fourier"):
        drawn = getattr(bins, name)
        table = getattr(bins, f"pretrain_{name}")
        if table is None and drawn is not None:
            table = PRETRAINED_PER_DRAWN * drawn
        if table is not None and table > MOST_PRETRAINED:
            raise InputError(
                f"{key}: {name}={drawn}, pretrain_{name}={table}: the training catalog would be "
                f"counted at more than {MOST_PRETRAINED:,} of them: lower them"
            )
    alone = not bins.number_density and not bins.statistics
    if bins.kernels == 0 and bins.fourier == 0 and alone:
        raise InputError(f"{key}: kernels=0 and fourier=0 leave nothing to compare")


def finite_column(
    key: str, name: str, columns: Mapping[str, np.ndarray], rows: RowBlocks | None = None
) -> np.ndarray:
    """A column of the training catalog, after a check that all values are finite.

    Args:
        key: config key that requires the column, for messages.
        name: name of the column.
        columns: names to training columns, each (n,), of the rows of this process.
        rows: which rows this process holds, by default all rows.

    Raises:
        InputError: the column is missing, or a value is masked or not finite in the precision of
            JAX.
    """
    if name not in columns:
        raise InputError(f"{key}: no column {name!r}: {closest(name, columns)}")
    values = np.asarray(unmasked(columns[name]))
    rows = RowBlocks(len(values)) if rows is None else rows
    held = float_array(values, f"{key}: column {name!r}")
    if bad := rows.added_up(int(np.count_nonzero(~np.isfinite(held)))):
        raise InputError(
            f"{key}: {bad} of {rows.total} values of column {name!r} are NaN or infinite in "
            f"{held.dtype}: leave these rows out"
        )
    return values
