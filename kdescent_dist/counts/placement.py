"""What a statistic is told of a training sample, to place its points there."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class TrainingDensity(Protocol):
    """The weighted training sample of a bin, of d compared columns, and a density estimate of it.

    Several processes may each hold a part of the sample. All of them call each method together,
    and get the same bits.
    """

    @property
    def dtype(self) -> Any:
        """Type of the samples, float32 or float64."""
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
        """(d, d) weighted covariance, float64."""
        ...

    def spread(self) -> np.ndarray:
        """(d,) standard deviations without the weights, float64."""
        ...

    def draw(self, key: np.ndarray, number: int) -> np.ndarray:
        """Draw rows (number, d) from a Gaussian kernel density estimate of the sample.

        Args:
            key: (2,) words of a random key.
            number: rows to draw.

        Raises:
            InputError: the columns of the sample are linearly dependent.
        """
        ...

    def at(self, x: np.ndarray) -> np.ndarray:
        """The estimate (n,) at positions (n, d), in weight per unit volume."""
        ...

    def agreed(self, work: Callable[[], T]) -> T:
        """What the first process works out. The last bits may differ between processors."""
        ...
