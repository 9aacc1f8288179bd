"""A lognormal prior."""

from dataclasses import dataclass
from typing import Any

from kdescent_dist.config.priors.prior import Prior, check_width


@dataclass(frozen=True)
class Lognormal(Prior):
    """``lognormal: [mean, sd]`` of the natural logarithm of the parameter, which is above 0."""

    mean: float
    sd: float
    name = "lognormal"

    def __post_init__(self) -> None:
        check_width(self.sd)

    @property
    def support(self) -> tuple[float, float]:
        return 0.0, float("inf")

    def log_prob(self, x: Any, xp: Any) -> Any:
        log = xp.log(x)
        return -0.5 * ((log - self.mean) / self.sd) ** 2 - log
