"""A normal prior within limits."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.config.priors.prior import (
    Prior,
    check_range,
    check_width,
    normal_quantiles,
)


@dataclass(frozen=True)
class Truncated(Prior):
    """``truncated: [mean, sd, low, high]``: a normal distribution within limits."""

    mean: float
    sd: float
    low: float
    high: float
    name = "truncated"

    def __post_init__(self) -> None:
        check_width(self.sd)
        check_range(self.low, self.high)

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def log_prob(self, x: Any, xp: Any) -> Any:
        return -0.5 * ((x - self.mean) / self.sd) ** 2

    def quantiles(self, share: np.ndarray, low: float, high: float) -> np.ndarray:
        return normal_quantiles(share, self.mean, self.sd, low, high)
