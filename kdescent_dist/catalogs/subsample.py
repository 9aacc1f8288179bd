"""Numbers of the selected rows that are in the catalog: all rows, or a subsample."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np


def _random(rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(rows, size, replace=False))


def _stride(rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(rows))
    return (np.arange(size) * rows + start) // size


# Each function draws ``size`` of the numbers 0 to ``rows`` - 1, in ascending order.
SUBSAMPLES: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "random": _random,
    "stride": _stride,
}


@dataclass(frozen=True)
class Numbering:
    """Row numbers, in the order of the file, among the selected rows and in the catalog.

    Attributes:
        selected: (chunks + 1,) number of the first selected row of each chunk; the last entry is
            the number of selected rows.
        drawn: (rows of the catalog,) ascending numbers of the selected rows in the catalog; None
            if all selected rows are in the catalog.
    """

    selected: np.ndarray
    drawn: np.ndarray | None = None

    @cached_property
    def offsets(self) -> np.ndarray:
        """Like ``selected``, for the rows of the catalog."""
        if self.drawn is None:
            return self.selected
        return np.searchsorted(self.drawn, self.selected)

    @property
    def total(self) -> int:
        """Number of rows of the catalog."""
        return int(self.offsets[-1])

    def of_chunks(self, first: int, last: int) -> slice | np.ndarray:
        """Which selected rows of chunks ``first`` to ``last`` (excluded) are in the catalog.

        Row numbers are relative to the first selected row of these chunks.
        """
        if self.drawn is None:
            return slice(None)
        low, high = self.offsets[[first, last]]
        return self.drawn[low:high] - self.selected[first]
