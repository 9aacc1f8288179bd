"""Maps between bounded parameters and the unbounded variables of the optimizer.

With two finite bounds, ``u = s tan((p - mid) / s)`` with ``s = (high - low) / pi``. With one finite
bound, ``u = p - low + 1 / (low - p)`` or its mirror image. Without bounds, the map is the identity.
These are the transformations of diffopt's ``kdescent``, so that a given optimizer takes the same
path.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

    def to_unbounded(self, params: jax.Array | np.ndarray) -> jax.Array:
        """Map bounded parameters (..., parameters) to unbounded variables."""
        params = jnp.asarray(params)
        both, only_low, only_high = self._cases()
        low, high, mid, scale = self._constants(params.dtype)
        two = scale * jnp.tan((jnp.where(both, params, mid) - mid) / scale)
        above = jnp.where(only_low, params - low, 1.0)
        below = jnp.where(only_high, high - params, 1.0)
        one_low = above - 1.0 / above
        one_high = 1.0 / below - below
        return jnp.where(
            both, two, jnp.where(only_low, one_low, jnp.where(only_high, one_high, params))
        )

    def to_bounded(self, unbounded: jax.Array) -> jax.Array:
        """Map unbounded variables (..., parameters) to bounded parameters."""
        both, only_low, only_high = self._cases()
        low, high, mid, scale = self._constants(unbounded.dtype)
        two = mid + scale * jnp.arctan(unbounded / scale)
        root = jnp.sqrt(unbounded**2 + 4.0)
        one_low = 0.5 * (2.0 * low + unbounded + root)
        one_high = 0.5 * (2.0 * high + unbounded - root)
        return jnp.where(
            both, two, jnp.where(only_low, one_low, jnp.where(only_high, one_high, unbounded))
        )

    def _cases(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        has_low, has_high = np.isfinite(self.low), np.isfinite(self.high)
        return has_low & has_high, has_low & ~has_high, ~has_low & has_high

    def _constants(self, dtype: np.dtype) -> tuple[np.ndarray, ...]:
        # Placeholders replace infinite bounds: unused branches stay finite, and their zero
        # cotangents do not become NaN.
        both, only_low, only_high = self._cases()
        low = np.where(both | only_low, self.low, 0.0)
        high = np.where(both | only_high, self.high, 1.0)
        mid = np.where(both, (low + high) / 2.0, 0.0)
        scale = np.where(both, (high - low) / np.pi, 1.0)
        return tuple(a.astype(dtype) for a in (low, high, mid, scale))
