"""The least and the largest values of rows that are spread over ranges and processes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdescent_dist.config.errors import InputError


@dataclass(frozen=True)
class Extremes:
    """The least and the largest values of some rows.

    Attributes:
        low: (columns + 1,) least values; the last is that of the weights.
        high: (columns + 1,) largest values.
        negative: number of negative weights.
    """

    low: np.ndarray
    high: np.ndarray
    negative: int

    @classmethod
    def none(cls, columns: int) -> "Extremes":
        """Those of no rows."""
        return cls(np.full(columns + 1, np.inf), np.full(columns + 1, -np.inf), 0)

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], columns: int) -> "Extremes":
        """Those of some rows: of the columns, and of the weights if there are."""
        if not len(arrays[0]):
            return cls.none(columns)
        weights = arrays[columns] if len(arrays) > columns else np.ones(1)
        checked = [*arrays[:columns], weights]
        low = np.array([values.min() for values in checked], np.float64)
        high = np.array([values.max() for values in checked], np.float64)
        return cls(low, high, int(np.count_nonzero(weights < 0)) if low[-1] < 0 else 0)

    def finite_in(self, dtype: np.dtype) -> bool:
        """Whether all values are finite in a type; not so where there are no rows."""
        with np.errstate(over="ignore"):
            ends = np.array([self.low, self.high]).astype(dtype)
        return bool(np.isfinite(ends).all())

    def as_array(self) -> np.ndarray:
        """All of it, to be exchanged."""
        return np.array([*self.low, *self.high, self.negative])

    @classmethod
    def of_all(cls, exchanged: np.ndarray) -> "Extremes":
        """Those of several processes, (processes, ...)."""
        low, high = np.split(exchanged[:, :-1], 2, axis=1)
        return cls(low.min(axis=0), high.max(axis=0), int(exchanged[:, -1].sum()))

    def __or__(self, other: "Extremes") -> "Extremes":
        """Those of both."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Extremes(low, high, self.negative + other.negative)

    def check(self, names: Sequence[str], rows: int, key: str) -> None:
        """Check those of all rows.

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
