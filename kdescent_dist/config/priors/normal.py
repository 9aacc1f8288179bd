"""A normal prior."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.config.priors.prior import Prior, check_width, normal_quantiles


@dataclass(frozen=True)
class Normal(Prior):
    """``normal: [mean, sd]``."""

    mean: float
    sd: float
    name = "normal"

    def __post_init__(self) -> None:
        check_width(self.sd)

    def log_prob(self, x: Any, xp: Any) -> Any:
        return -0.5 * ((x - self.mean) / self.sd) ** 2

    def quantiles(self, share: np.ndarray, low: float, high: float) -> np.ndarray:
        return normal_quantiles(share, self.mean, self.sd, low, high)
