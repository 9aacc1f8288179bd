"""A normal prior within limits."""

from dataclasses import dataclass
from typing import Any

from kdescent_dist.config.priors.prior import Prior, check_range, check_width


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
