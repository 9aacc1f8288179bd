"""Ranges, means and standard deviations of columns whose rows are spread over processes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.numerics.exact_sums import exact_total

# Rows per chunk for moments. Sums within a chunk are rounded, so chunks must not depend on the
# number of processes.
CHUNK_ROWS = 1 << 16
LEAST_VARIANCE = 1e-12  # relative to the squared mean; sums of squares have 16 digits


@dataclass(frozen=True)
class ColumnRanges:
    """The smallest and the largest value of each column, and of the weights.

    Attributes:
        low: (columns + 1,) smallest values; the last entry is the smallest weight.
        high: (columns + 1,) largest values, likewise.
        negative: number of negative weights.
    """

    low: np.ndarray
    high: np.ndarray
    negative: int

    @classmethod
    def none(cls, columns: int) -> "ColumnRanges":
        """The ranges of no rows."""
        return cls(np.full(columns + 1, np.inf), np.full(columns + 1, -np.inf), 0)

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], columns: int) -> "ColumnRanges":
        """The ranges of some rows.

        Args:
            arrays: (n,) values per column, then the weights unless all weights are 1.
            columns: number of columns among the arrays.
        """
        if not len(arrays[0]):
            return cls.none(columns)
        weights = arrays[columns] if len(arrays) > columns else np.ones(1)
        checked = [*arrays[:columns], weights]
        low = np.array([values.min() for values in checked], np.float64)
        high = np.array([values.max() for values in checked], np.float64)
        return cls(low, high, int(np.count_nonzero(weights < 0)) if low[-1] < 0 else 0)

    def finite_in(self, dtype: np.dtype) -> bool:
        """Whether all values are finite in a type; False without rows."""
        with np.errstate(over="ignore"):
            ends = np.array([self.low, self.high]).astype(dtype)
        return bool(np.isfinite(ends).all())

    def __or__(self, other: "ColumnRanges") -> "ColumnRanges":
        """The ranges of the union of the rows."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return ColumnRanges(low, high, self.negative + other.negative)

    def of_all(self, processes: Processes) -> "ColumnRanges":
        """The ranges over all processes, which must call this method together."""
        table = processes.exchange(np.array([*self.low, *self.high, self.negative]))
        low, high = np.split(table[:, :-1], 2, axis=1)
        return ColumnRanges(low.min(axis=0), high.max(axis=0), int(table[:, -1].sum()))

    def check(self, names: Sequence[str], rows: int, key: str) -> None:
        """Check the ranges of all rows.

        Args:
            names: names of the columns.
            rows: number of rows.
            key: prefix of the config key, for messages.

        Raises:
            InputError: a column does not vary, a weight is negative, or all weights are 0.
        """
        for name, low, high in zip(names, self.low, self.high, strict=False):
            if low == high:
                raise InputError(
                    f"{key}: column {name!r} is {low:g} in all {rows} rows: it has no variance"
                )
        if self.negative:
            raise InputError(f"{key}.weights: {self.negative} of {rows} rows are negative")
        if not self.high[-1] > 0:
            raise InputError(f"{key}.weights: all {rows} rows are 0")


@dataclass(frozen=True)
class Scale:
    """The mean and the standard deviation by which a column is standardized.

    Attributes:
        mean: weighted mean of the selected rows, in units of the column.
        deviation: weighted standard deviation of the selected rows, in units of the column.
    """

    mean: float
    deviation: float

    def standardized(self, values: np.ndarray) -> np.ndarray:
        """Standardize values (n,) of the column, in a new array of the same type."""
        return ((values.astype(np.float64) - self.mean) / self.deviation).astype(values.dtype)


def check_names(names: Sequence[str], required: Sequence[str], key: str) -> None:
    """Check that the columns to standardize are used.

    Raises:
        InputError: a column is not used.
    """
    for name in names:
        if name not in required:
            raise InputError(
                f"{key}.standardize: {name!r} is not a column that is used: "
                f"{closest(name, required)}"
            )


def moments(columns: Sequence[np.ndarray], weights: np.ndarray | None) -> np.ndarray:
    """Weighted sums over the n rows of a chunk.

    Args:
        columns: (n,) values per column.
        weights: (n,) weights, None if all weights are 1.

    Returns:
        (1 + 2 columns,) the sum of the weights, then for each column the sums of its values and of
        their squares.
    """
    sums = [float(len(columns[0])) if weights is None else weights.sum(dtype=np.float64)]
    for values in columns:
        wide = values.astype(np.float64)
        once = wide if weights is None else wide * weights
        sums += [once.sum(), (once * wide).sum()]
    return np.array(sums)


def scales(
    names: Sequence[str], parts: np.ndarray, chunks: int, processes: Processes, key: str
) -> dict[str, Scale]:
    """The scale of each column.

    Args:
        names: names of the columns.
        parts: (chunks of this process, 1 + 2 columns) moments.
        chunks: number of chunks of all processes.
        processes: the processes, which must call this function together.
        key: prefix of the config key, for messages.

    Raises:
        InputError: the variance of a column is lost in the rounding error of its mean square.
    """
    total = exact_total(list(parts), parts.shape[1:], chunks, processes)
    means, squares = total[1::2] / total[0], total[2::2] / total[0]
    found = {}
    for name, mean, variance in zip(names, means, squares - means**2, strict=True):
        if not variance > LEAST_VARIANCE * mean**2:
            raise InputError(
                f"{key}.standardize: {name!r} varies too little around its mean {mean:g}: derive "
                f"it as a distance from there in {key}.columns"
            )
        found[name] = Scale(float(mean), float(np.sqrt(variance)))
    return found
