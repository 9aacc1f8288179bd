"""Rows that a process holds in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class RowBuffer:
    """Arrays that grow row by row. The system assigns their memory only as the arrays fill.

    Attributes:
        arrays: (capacity,) values per column, (rows,) after ``trim``, which must be called before
            use.
    """

    def __init__(self, columns: int, capacity: int, dtype: Any) -> None:
        self.arrays = [np.empty(capacity, dtype) for _ in range(columns)]
        self._capacity, self._rows = capacity, 0

    def has_space(self, rows: int) -> bool:
        return self._rows + rows <= self._capacity

    def reserve(self, rows: int) -> list[np.ndarray]:
        """Append rows: (rows,) views per column, which the caller fills. There must be space."""
        place = slice(self._rows, self._rows + rows)
        self._rows = place.stop
        return [values[place] for values in self.arrays]

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Append rows, (n,) values per column. There must be space."""
        for place, values in zip(self.reserve(len(arrays[0])), arrays, strict=True):
            place[...] = values

    def trim(self) -> None:
        """Free the unused memory."""
        for values in self.arrays:
            values.resize(self._rows, refcheck=False)
