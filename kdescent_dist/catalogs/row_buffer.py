"""Rows that a process holds in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class RowBuffer:
    """Arrays that grow row by row, in memory that is reserved at once but taken as it fills.

    Attributes:
        arrays: of each column, (capacity,) values; only those of rows that were added count. Trim
            the buffer before use.
    """

    def __init__(self, columns: int, capacity: int, dtype: Any) -> None:
        self.arrays = [np.empty(capacity, dtype) for _ in range(columns)]
        self._capacity, self._rows = capacity, 0

    def has_space(self, rows: int) -> bool:
        return self._rows + rows <= self._capacity

    def reserve(self, rows: int) -> list[np.ndarray]:
        """Of each column, the (rows,) place of further rows at the end, which the caller fills.

        There must be space for them.
        """
        place = slice(self._rows, self._rows + rows)
        self._rows = place.stop
        return [values[place] for values in self.arrays]

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Add rows, (n,) values of each column, at the end; there must be space for them."""
        for place, values in zip(self.reserve(len(arrays[0])), arrays, strict=True):
            place[...] = values

    def trim(self) -> None:
        """Give back the memory that is not used."""
        for values in self.arrays:
            values.resize(self._rows, refcheck=False)
