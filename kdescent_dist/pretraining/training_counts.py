"""What a training sample has at the points of one statistic."""

from dataclasses import dataclass

import numpy as np

from kdescent_dist.counts.statistic import Points


@dataclass(frozen=True)
class TrainingCounts:
    """Counts of one statistic of a training sample, at the points that a step draws from.

    Attributes:
        points: p points, as arrays of NumPy.
        values: (p, parts) counts.
        errors: (p, parts) errors of the counts, 0 where nothing is known to compare with.
        drawn: the number of points that a step draws.
        every: whether a step takes all points in their order, and draws none.
        given: whether the counts were given, and not counted in the training catalog.
    """

    points: Points
    values: np.ndarray
    errors: np.ndarray
    drawn: int
    every: bool = False
    given: bool = False

    @property
    def number(self) -> int:
        """p."""
        return len(self.values)
