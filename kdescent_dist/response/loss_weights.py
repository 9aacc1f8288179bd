"""The weights of residuals in a loss that is a quadratic form of the residuals."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class LossWeights(Protocol):
    """A symmetric matrix W (R, R) without negative eigenvalues."""

    def times(self, residuals: np.ndarray) -> np.ndarray:
        """The products (n, R) of n rows of residuals and W."""
        ...

    def values(self, residuals: np.ndarray) -> np.ndarray:
        """The quadratic forms (n,) of n rows of residuals."""
        ...


@dataclass(frozen=True)
class DiagonalWeights:
    """Weights (R,) of the squared residuals."""

    weights: np.ndarray

    def times(self, residuals: np.ndarray) -> np.ndarray:
        """The products (n, R) of n rows of residuals and W."""
        return residuals * self.weights

    def values(self, residuals: np.ndarray) -> np.ndarray:
        """The quadratic forms (n,) of n rows of residuals."""
        return residuals**2 @ self.weights


@dataclass(frozen=True)
class FullWeights:
    """The inverse of the covariance of the residuals, F F^T with the factor F (R, M).

    The M columns of F are the directions in which the covariance is known.

    Attributes:
        factor: F.
        predicted: whether the model has predicted the covariance.
    """

    factor: np.ndarray
    predicted: bool = False

    @property
    def used(self) -> np.ndarray:
        """(R,) whether each residual has a weight."""
        return np.any(self.factor != 0, axis=1)

    def times(self, residuals: np.ndarray) -> np.ndarray:
        """The products (n, R) of n rows of residuals and W."""
        return residuals @ self.factor @ self.factor.T

    def values(self, residuals: np.ndarray) -> np.ndarray:
        """The quadratic forms (n,) of n rows of residuals."""
        return np.sum((residuals @ self.factor) ** 2, axis=1)
