"""The variables of the optimizer: free parameters, unbounded and in units of their scale."""

from collections.abc import Hashable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.limits import rounded
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.scales import without_far
from kdescent_dist.fitting.arctan_map import ArctanMap
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.logit_map import LogitMap

_MAPS = {"logit": LogitMap, "arctan": ArctanMap}


@dataclass(frozen=True)
class Coordinates:
    """The map from the parameters of a model to the variables of the optimizer, and its inverse.

    Attributes:
        map: the map of the F free parameters, in units of their scale.
        scale: (F,) scales of the free parameters.
        free: (F,) indices of the free parameters among all P parameters, in ascending order.
        held: (P,) values of all parameters, which supply the fixed parameters.
        limits: bounds of the free parameters, which rounding may not reach; None to allow it.
    """

    map: LogitMap | ArctanMap
    scale: np.ndarray
    free: np.ndarray
    held: np.ndarray
    limits: Bounds | None

    @classmethod
    def of(cls, parameters: Parameters, bounds: str = "logit") -> "Coordinates":
        """The coordinates of parameters, whose guess has the precision of the fit.

        Args:
            parameters: the parameters.
            bounds: name of the map of bounded parameters, see ``FitConfig``.
        """
        free = np.flatnonzero(~parameters.fixed)
        scale = parameters.scale[free]
        low, high = parameters.low[free], parameters.high[free]
        limits = None
        if bounds == "logit" and np.any(np.isfinite(low) | np.isfinite(high)):
            limits = Bounds(low, high)
            low, high = without_far(low, high, parameters.guess[free], scale)
        # The scale is applied before the bounds: the map of a single bound has a unit length.
        map_ = _MAPS[bounds](Bounds(low / scale, high / scale))
        return cls(map_, scale, free, parameters.guess, limits)

    @property
    def name(self) -> tuple[Hashable, ...]:
        """What the map depends on, for ``Programs``."""
        bounds = [self.map.bounds] + ([] if self.limits is None else [self.limits])
        arrays = [a for b in bounds for a in (b.low, b.high)]
        fixed = np.delete(self.held, self.free)
        arrays += [self.scale, self.free, fixed]
        return (type(self.map), *(np.asarray(a).tobytes() for a in arrays))

    # Without fixed, scaled or bounded parameters, these operations are skipped: the program is
    # unchanged.

    def of_params(self, params: jax.Array | np.ndarray) -> jax.Array:
        """The coordinates (F,) of parameters (P,), which must be within their bounds."""
        params = jnp.asarray(params)
        if self._some_fixed:
            params = params[self.free]
        return self.map.to_unbounded(params / self._scale(params) if self._scaled else params)

    def to_params(self, moved: jax.Array) -> jax.Array:
        """The parameters (P,) at coordinates (F,)."""
        params = self.map.to_bounded(moved)
        if self._scaled:
            params = params * self._scale(params)
        if self.limits is not None:
            params = _within(params, *_inner(self.limits, params.dtype))
        if not self._some_fixed:
            return params
        return jnp.asarray(self.held, params.dtype).at[self.free].set(params)

    @property
    def _some_fixed(self) -> bool:
        return len(self.free) < len(self.held)

    @property
    def _scaled(self) -> bool:
        return bool(np.any(self.scale != 1))

    def _scale(self, like: jax.Array) -> np.ndarray:
        return self.scale.astype(like.dtype)


def _inner(limits: Bounds, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The outermost numbers of a precision that lie strictly within the limits."""
    kind = jnp.finfo(dtype)
    low, high = rounded(limits.low, dtype), rounded(limits.high, dtype)
    least = np.maximum(np.nextafter(low, np.inf, dtype=dtype), low + kind.tiny)
    most = np.minimum(np.nextafter(high, -np.inf, dtype=dtype), high - kind.tiny)
    return np.where(np.isinf(low), low, least), np.where(np.isinf(high), high, most)


@jax.custom_jvp
def _within(params: jax.Array, low: np.ndarray, high: np.ndarray) -> jax.Array:
    return jnp.clip(params, low, high)


@_within.defjvp
def _within_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    # The slope stays that of the map: with a slope of 0, a parameter would never come back.
    return _within(*primals), tangents[0]
