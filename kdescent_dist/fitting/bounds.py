"""Lower and upper bounds of parameters; ``logit_map`` and ``arctan_map`` keep a fit within them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.limits import check_within, limits_of


@dataclass(frozen=True)
class Bounds:
    """Lower and upper bounds of each parameter; a missing bound is infinite.

    Attributes:
        low: (parameters,) lower bounds.
        high: (parameters,) upper bounds.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def from_pairs(cls, pairs: Sequence | np.ndarray | jax.Array | None, size: int) -> "Bounds":
        """Build bounds from one ``(low, high)`` or None for each parameter.

        Raises:
            InputError: the number of pairs is not ``size``.
        """
        return cls(*limits_of(pairs, size))

    def check(self, params: np.ndarray, names: Sequence[str], what: str = "guess") -> None:
        """Check the bounds themselves, and that ``params`` lie strictly within them.

        Raises:
            InputError: names the first parameter outside its bounds.
        """
        check_within(params, self.low, self.high, names, what)

    def kinds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whether each parameter has two bounds, only a lower, or only an upper bound."""
        has_low, has_high = np.isfinite(self.low), np.isfinite(self.high)
        return has_low & has_high, has_low & ~has_high, ~has_low & has_high

    def by_kind(self, two: Any, only_low: Any, only_high: Any, free: Any) -> jax.Array:
        """Take each parameter (..., parameters) from the values of its kind, see ``kinds``."""
        both, has_low, has_high = self.kinds()
        one = jnp.where(has_low, only_low, jnp.where(has_high, only_high, free))
        return jnp.where(both, two, one)
