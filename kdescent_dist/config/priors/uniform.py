"""A uniform prior, which acts as bounds."""

from dataclasses import dataclass
from typing import Any

from kdescent_dist.config.priors.prior import Prior, check_range


@dataclass(frozen=True)
class Uniform(Prior):
    """``uniform: [low, high]``."""

    low: float
    high: float
    name = "uniform"

    def __post_init__(self) -> None:
        check_range(self.low, self.high)

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high

    def log_prob(self, x: Any, xp: Any) -> Any:
        return 0.0 * x
