"""The interface of a prior of one parameter."""

from abc import ABC, abstractmethod
from dataclasses import astuple
from typing import Any, ClassVar

import numpy as np


class Prior(ABC):
    """A prior of one parameter: a frozen dataclass whose fields are the numbers of the config.

    ``parameters.NAME.prior: {normal: [0.3, 0.1]}`` makes ``Normal(0.3, 0.1)``. A ``ValueError`` of
    the dataclass tells what is wrong with the numbers.

    Attributes:
        name: name of the prior in the config.
    """

    name: ClassVar[str]

    @property
    def support(self) -> tuple[float, float]:
        """Where the density is above 0; the ends are bounds of the parameter."""
        return -float("inf"), float("inf")

    @abstractmethod
    def log_prob(self, x: Any, xp: Any) -> Any:
        """The natural logarithm of the density, but for a constant.

        Args:
            x: value of the parameter, a scalar within ``support``.
            xp: ``numpy`` or ``jax.numpy``, for functions such as ``xp.log``.
        """

    def quantiles(self, share: np.ndarray, low: float, high: float) -> np.ndarray | None:
        """The values below which the prior within bounds has shares (n,) of its probability.

        Args:
            share: (n,) shares, above 0 and below 1.
            low, high: the bounds, which are within ``support``.

        Returns:
            The values (n,), or None if they are not known.
        """
        return None

    @property
    def code(self) -> Any:
        """What to describe in the identity of a fit beside ``to_config``."""
        return type(self)

    def to_config(self) -> dict[str, Any]:
        """The prior in the form of the config."""
        return {self.name: list(astuple(self))}  # type: ignore[call-overload]


def normal_quantiles(
    share: np.ndarray, mean: float, sd: float, low: float, high: float
) -> np.ndarray:
    """The quantiles (n,) of a normal distribution within bounds, see ``Prior.quantiles``."""
    from scipy.stats import truncnorm  # slow to import

    return truncnorm.ppf(share, (low - mean) / sd, (high - mean) / sd, mean, sd)


def check_width(sd: float) -> None:
    """Check that a standard deviation is above 0, and finite.

    Raises:
        ValueError: it is not.
    """
    if not 0 < sd < float("inf"):
        raise ValueError(f"the standard deviation {sd:g} must be above 0 and finite")


def check_range(low: float, high: float) -> None:
    """Check that a range is not empty.

    Raises:
        ValueError: it is empty.
    """
    if not low < high:
        raise ValueError(f"the lower end {low:g} is not below the upper end {high:g}")
