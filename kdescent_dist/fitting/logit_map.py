"""The map between bounded parameters and unbounded variables, whose slope does not die at a bound.

With two finite bounds, ``p = low + (high - low) sigmoid(4 u / (high - low))``, whose slope is 1 in
the middle. With one finite bound, ``p = low + softplus(u - low)`` or its mirror image, which is u
far from the bound. Without bounds, the map is the identity. Near a bound, the slope ``dp / du`` is
in proportion to the distance from the bound, so that a parameter leaves its bound at the same pace
as it has come.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.fitting.bounds import Bounds

_MIDDLE = 1.0  # of the argument of the sigmoid: there, it is measured from the middle


@dataclass(frozen=True)
class LogitMap:
    """Logit for two bounds, inverse softplus for one bound.

    Attributes:
        bounds: bounds of the parameters.
    """

    bounds: Bounds

    def to_unbounded(self, params: jax.Array | np.ndarray) -> jax.Array:
        """Map bounded parameters (..., parameters) to unbounded variables."""
        params = jnp.asarray(params)
        both, only_low, only_high = self.bounds.kinds()
        low, high, mid, half = self._constants(params.dtype)
        # Unused branches get an argument at which they are finite.
        away = jnp.where(both, (params - mid) / half, 0.0)
        central = jnp.abs(away) < np.tanh(_MIDDLE / 2)
        inner = 2.0 * jnp.arctanh(jnp.where(central, away, 0.0))
        nearest = jnp.where(away < 0, params - low, high - params) / half
        nearest = jnp.where(both & ~central, nearest, 1.0)
        outer = jnp.sign(away) * jnp.log((2.0 - nearest) / nearest)
        two = 0.5 * half * jnp.where(central, inner, outer)
        # The inverse of softplus is d + log(1 - exp(-d)) at the distance d from the bound.
        one_low = params + _log1mexp(jnp.where(only_low, params - low, 1.0))
        one_high = params - _log1mexp(jnp.where(only_high, high - params, 1.0))
        return self.bounds.by_kind(two, one_low, one_high, params)

    def to_bounded(self, unbounded: jax.Array) -> jax.Array:
        """Map unbounded variables (..., parameters) to bounded parameters."""
        both, _, _ = self.bounds.kinds()
        low, high, mid, half = self._constants(unbounded.dtype)
        at = jnp.where(both, 2.0 * (unbounded / half), 0.0)
        # Small distances from the middle, or from a bound, are not lost in rounding.
        inner = mid + half * jnp.tanh(0.5 * at)
        small = jnp.exp(-jnp.abs(at))
        nearest = half * (2.0 * small / (1.0 + small))
        outer = jnp.where(at < 0, low + nearest, high - nearest)
        two = jnp.where(jnp.abs(at) < _MIDDLE, inner, outer)
        # log(exp(u) + exp(low)) is low + softplus(u - low), without rounding far from the bound.
        one_low = jnp.logaddexp(unbounded, low)
        one_high = -jnp.logaddexp(-unbounded, -high)
        return self.bounds.by_kind(two, one_low, one_high, unbounded)

    def log_slope(self, unbounded: jax.Array) -> jax.Array:
        """Logarithms of the slopes ``dp / du`` (..., parameters) at unbounded variables."""
        low, high, _, half = self._constants(unbounded.dtype)
        at = 2.0 * (unbounded / half)
        two = np.log(4.0) + jax.nn.log_sigmoid(at) + jax.nn.log_sigmoid(-at)
        one_low = jax.nn.log_sigmoid(unbounded - low)
        one_high = jax.nn.log_sigmoid(high - unbounded)
        return self.bounds.by_kind(two, one_low, one_high, jnp.zeros_like(unbounded))

    def _constants(self, dtype: np.dtype) -> tuple[np.ndarray, ...]:
        # Placeholders replace infinite bounds: unused branches stay finite, and their zero
        # cotangents do not become NaN.
        both, only_low, only_high = self.bounds.kinds()
        low = np.where(both | only_low, self.bounds.low, 0.0)
        high = np.where(both | only_high, self.bounds.high, 0.0)
        # Halves before their sum: the width of large bounds overflows.
        mid = np.where(both, low / 2.0 + high / 2.0, 0.0)
        half = np.where(both, high / 2.0 - low / 2.0, 1.0)
        return tuple(a.astype(dtype) for a in (low, high, mid, half))


def _log1mexp(distance: jax.Array) -> jax.Array:
    return jnp.log(-jnp.expm1(-distance))
