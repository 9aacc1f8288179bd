"""Checks of what a config, and a catalog, say of bins."""

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

MOST_PRETRAINED = 10_000_000  # kernels or modes of a bin


def check_bins(key: str, bins: BinsConfig) -> None:
    """Check a bin, or a grid of bins.

    Args:
        key: its config key, for messages.
        bins: what is compared, and how.

    Raises:
        InputError: names the key, its value and what is allowed.
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
    """A column of the training catalog, all values of which are finite.

    Args:
        key: names where it is asked for, in messages.
        name: its name.
        columns: training columns, each (n,), of all rows or of those that ``rows`` says.
        rows: which rows this process holds.

    Raises:
        InputError: it is missing, or a value is masked or not finite in the precision of a fit.
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
