"""Warnings about the values of a catalog, each with a remedy; a fit and an inspection tell them."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from kdescent_dist.catalogs.column_values import FEWEST_ROWS, ColumnValues, values_of_columns
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.distributed.processes import Processes

ONE_VALUE = 0.02  # fraction of rows with the same value
END_VALUE = 0.01  # the same for the smallest or the largest value
DISCRETE = 50  # most different values of a column that is taken for discrete
REPEATED = 20  # fewest rows per value of a discrete column
TAILS = 3.0  # standard deviations in units of the robust ones
OFFSET = 1e4  # distance from 0 in units of the spread that single precision still resolves well


FOR_CONTINUOUS = "kernel and Fourier counts are made for continuous columns"


def column_warnings(
    columns: Mapping[str, np.ndarray],
    compared: Collection[str],
    config: CatalogConfig,
    key: str,
    processes: Processes,
) -> list[str]:
    """One line for each column and kind of values that a fit would suffer from.

    Args:
        columns: names to columns (n,) of the rows of this process.
        compared: columns that are compared in kernel and Fourier counts.
        config: config of the catalog.
        key: the key of the catalog, ``catalog`` or ``input.catalog``.
        processes: the processes, which must call this function together.
    """
    found = values_of_columns(columns, processes)
    return [
        f"{key}: {text}"
        for name, values in found.items()
        for text in _of_column(name, values, name in compared, config, key)
    ]


def _of_column(
    name: str, values: ColumnValues, is_compared: bool, config: CatalogConfig, key: str
) -> Iterator[str]:
    discrete = values.distinct <= min(DISCRETE, values.sampled / REPEATED)
    least = END_VALUE if values.common_at_end else ONE_VALUE
    share = values.common_rows / max(values.sampled, 1)
    often = values.distinct > 1 and share > max(least, FEWEST_ROWS / max(values.sampled, 1))
    if often and (values.common_is_far or not discrete):
        how = f"name it in {key}.sentinel"
        if name not in (*config.columns, *config.standardize):
            how = f"set {key}.sentinel={{{name}: {values.common:g}}}"
        yield (
            f"{share:.0%} of the rows have {name} = {values.common:g}: if that stands for a "
            f"missing value, {how}; {FOR_CONTINUOUS}"
        )
    if is_compared and discrete and values.distinct > 1:
        yield (
            f"{name} has only {values.distinct} different values: {FOR_CONTINUOUS}: make it a "
            "column of edges, or add a scatter to it in data and model alike"
        )
    elif is_compared and values.deviation > TAILS * values.robust > 0:
        yield (
            f"{name} has outliers: its standard deviation {values.deviation:.3g} is "
            f"{values.deviation / values.robust:.3g} times what its quartiles tell: drop them with "
            f"{key}.where, or compare its logarithm ({key}.columns)"
        )
    spread = values.robust or values.deviation
    if values.single and abs(values.median) > OFFSET * spread > 0:
        expression = config.columns.get(name, name)
        expression = expression if expression.isidentifier() else f"({expression})"
        yield (
            f"{name} is near {values.median:.7g}, and varies by {spread:.2g}, which single "
            f"precision rounds: subtract an offset here and in the model, {key}.columns={{{name}: "
            f"{expression} - {values.median:.3g}}}, or set runtime.x64=true"
        )
