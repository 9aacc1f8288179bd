"""diffopt's map between bounded parameters and the unbounded variables of the optimizer.

With two finite bounds, ``u = s tan((p - mid) / s)`` with ``s = (high - low) / pi``. With one finite
bound, ``u = p - low + 1 / (low - p)`` or its mirror image. Without bounds, the map is the identity.
The drop-in functions use this map, so that a given optimizer takes the path that it takes in
diffopt, and so do fits of earlier versions. The slope ``dp / du`` falls with the square of the
distance from the bound: a parameter that has come near its bound hardly leaves it.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.fitting.bounds import Bounds


@dataclass(frozen=True)
class ArctanMap:
    """The map of diffopt.

    Attributes:
        bounds: bounds of the parameters.
    """

    bounds: Bounds

    def to_unbounded(self, params: jax.Array | np.ndarray) -> jax.Array:
        """Map bounded parameters (..., parameters) to unbounded variables."""
        params = jnp.asarray(params)
        both, only_low, only_high = self.bounds.kinds()
        low, high, mid, scale = self._constants(params.dtype)
        two = scale * jnp.tan((jnp.where(both, params, mid) - mid) / scale)
        above = jnp.where(only_low, params - low, 1.0)
        below = jnp.where(only_high, high - params, 1.0)
        one_low = above - 1.0 / above
        one_high = 1.0 / below - below
        return self.bounds.by_kind(two, one_low, one_high, params)

    def to_bounded(self, unbounded: jax.Array) -> jax.Array:
        """Map unbounded variables (..., parameters) to bounded parameters."""
        low, high, mid, scale = self._constants(unbounded.dtype)
        two = mid + scale * jnp.arctan(unbounded / scale)
        root = jnp.sqrt(unbounded**2 + 4.0)
        one_low = 0.5 * (2.0 * low + unbounded + root)
        one_high = 0.5 * (2.0 * high + unbounded - root)
        return self.bounds.by_kind(two, one_low, one_high, unbounded)

    def _constants(self, dtype: np.dtype) -> tuple[np.ndarray, ...]:
        # Placeholders replace infinite bounds: unused branches stay finite, and their zero
        # cotangents do not become NaN.
        both, only_low, only_high = self.bounds.kinds()
        low = np.where(both | only_low, self.bounds.low, 0.0)
        high = np.where(both | only_high, self.bounds.high, 1.0)
        mid = np.where(both, (low + high) / 2.0, 0.0)
        scale = np.where(both, (high - low) / np.pi, 1.0)
        return tuple(a.astype(dtype) for a in (low, high, mid, scale))
