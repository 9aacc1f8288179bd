"""A lognormal prior."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.config.priors.prior import Prior, check_width, normal_quantiles


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

    def quantiles(self, share: np.ndarray, low: float, high: float) -> np.ndarray:
        with np.errstate(divide="ignore"):  # the logarithm of 0 is that of no bound
            ends = np.log(low), np.log(high)
        return np.exp(normal_quantiles(share, self.mean, self.sd, *ends))
