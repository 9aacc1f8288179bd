"""The training sample of a bin, as a statistic sees it to place points in the sample."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class TrainingDensity(Protocol):
    """The weighted training sample of a bin, of d compared columns, and its density estimate.

    Each process may hold a part of the sample. All processes call each method together, and get the
    same bits.
    """

    @property
    def dtype(self) -> Any:
        """Dtype of the samples, float32 or float64."""
        ...

    @property
    def weight(self) -> float:
        """Sum of the weights."""
        ...

    @property
    def mean(self) -> np.ndarray:
        """(d,) weighted mean, float64."""
        ...

    @property
    def covariance(self) -> np.ndarray:
        """(d, d) weighted covariance, float64, whose diagonal has the squared widths of columns.

        The widths are the standard deviations, or smaller for a column of heavy tails; see
        ``bins.NAME.column_width``.
        """
        ...

    def spread(self) -> np.ndarray:
        """(d,) widths of the columns without weights, float64."""
        ...

    def draw(self, key: np.ndarray, number: int) -> np.ndarray:
        """Draw rows (number, d) from a Gaussian kernel density estimate of the sample.

        Args:
            key: (2,) words of a random key.
            number: number of rows to draw.

        Raises:
            InputError: the columns of the sample are linearly dependent.
        """
        ...

    def at(self, x: np.ndarray) -> np.ndarray:
        """Evaluate the density estimate (n,) at positions (n, d), in weight per unit volume."""
        ...

    def agreed(self, work: Callable[[], T]) -> T:
        """Call ``work`` in the first process only; all processes get the result.

        On other processors, last bits could differ.
        """
        ...
