"""What the values of a column are like: center, spread, and values that many rows share."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kdescent_dist.distributed.processes import Processes

ROWS = 1 << 17  # evenly spread rows of all processes, from which all but the deviation is found
FEWEST_ROWS = 10  # that make a value a common one
NORMAL_RANGE = 1.349  # interquartile range of a normal distribution, in standard deviations


@dataclass(frozen=True)
class ColumnValues:
    """The values of a column, the same in every process.

    Attributes:
        single: whether the column is in single precision.
        sampled: number of rows from which all but the deviation is found.
        median: the median.
        robust: interquartile range, in standard deviations of a normal distribution.
        deviation: standard deviation of all rows without those of a far common value.
        distinct: number of different values.
        common: the value of most rows; or of 10 rows or more, if it is far from all others.
        common_rows: number of rows with the common value.
        common_at_end: whether the common value is the smallest or the largest one.
        common_is_far: whether it is farther from all others than they are from each other.
    """

    single: bool
    sampled: int
    median: float
    robust: float
    deviation: float
    distinct: int
    common: float
    common_rows: int
    common_at_end: bool
    common_is_far: bool


def values_of_columns(
    columns: Mapping[str, np.ndarray], processes: Processes
) -> dict[str, ColumnValues]:
    """The values of each column that has values; all processes must call this function together.

    Args:
        columns: names to columns (n,) of the rows of this process.
        processes: the processes.
    """
    most = max(ROWS // processes.count, 1)
    mine = {
        name: np.asarray(values)[:: -(-len(values) // most) or 1]
        for name, values in columns.items()
    }
    gathered = processes.gather(mine)
    some = {name: np.concatenate([part[name] for part in gathered]) for name in columns}
    found = {name: _of_sample(values) for name, values in some.items() if len(values)}
    sums = [_sums(np.asarray(columns[name]), one) for name, one in found.items()]
    totals = np.sum(processes.gather(np.array(sums).reshape(-1, 3)), axis=0)
    return {
        name: ColumnValues(deviation=_deviation(*total), **of_sample)
        for (name, of_sample), total in zip(found.items(), totals, strict=True)
    }


def _of_sample(values: np.ndarray) -> dict:
    distinct, counts = np.unique(values, return_counts=True)
    at, far = _common(distinct, counts)
    kept = values[values != distinct[at]] if far else values
    low, median, high = np.quantile(kept.astype(float), [0.25, 0.5, 0.75])
    return {
        "single": values.dtype.itemsize <= 4,
        "sampled": len(values),
        "median": float(median),
        "robust": float(high - low) / NORMAL_RANGE,
        "distinct": len(distinct),
        "common": float(distinct[at]),
        "common_rows": int(counts[at]),
        "common_at_end": at in (0, len(distinct) - 1),
        "common_is_far": far,
    }


def _common(distinct: np.ndarray, counts: np.ndarray) -> tuple[int, bool]:
    """The number of the value of most rows, or of one that is far from all others."""
    for at in (0, len(distinct) - 1):
        others = np.delete(distinct, at).astype(float)
        if counts[at] >= FEWEST_ROWS and len(others) > 1:
            away = np.abs(others - distinct[at]).min()
            if away > np.ptp(others):
                return at, True
    return int(counts.argmax()), False


def _sums(values: np.ndarray, found: Mapping) -> np.ndarray:
    """(3,) number of rows, and sums of distances from the median and of their squares."""
    if found["common_is_far"]:
        values = values[values != found["common"]]
    wide = values.astype(float) - found["median"]
    return np.array([len(wide), wide.sum(), (wide * wide).sum()])


def _deviation(rows: float, once: float, twice: float) -> float:
    return float(np.sqrt(max(twice / rows - (once / rows) ** 2, 0.0)))
