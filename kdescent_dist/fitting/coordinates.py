"""The variables of the optimizer: free parameters, unbounded and in units of their scale."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.fitting.bounds import Bounds


@dataclass(frozen=True)
class Coordinates:
    """The map from the parameters of a model to the variables of the optimizer, and its inverse.

    Attributes:
        bounds: bounds of the F free parameters, in units of their scale.
        scale: (F,) scales of the free parameters.
        free: (F,) indices of the free parameters among all P parameters, in ascending order.
        held: (P,) values of all parameters, which supply the fixed parameters.
    """

    bounds: Bounds
    scale: np.ndarray
    free: np.ndarray
    held: np.ndarray

    @classmethod
    def of(cls, parameters: Parameters) -> "Coordinates":
        """The coordinates of parameters, whose guess has the precision of the fit."""
        free = np.flatnonzero(~parameters.fixed)
        scale = parameters.scale[free]
        # The scale is applied before the bounds: the map of a single bound has a unit length.
        bounds = Bounds(parameters.low[free] / scale, parameters.high[free] / scale)
        return cls(bounds, scale, free, parameters.guess)

    # Without fixed or scaled parameters, these operations are skipped: the program is unchanged.

    def of_params(self, params: jax.Array | np.ndarray) -> jax.Array:
        """The coordinates (F,) of parameters (P,), which must be within their bounds."""
        params = jnp.asarray(params)
        if self._some_fixed:
            params = params[self.free]
        return self.bounds.to_unbounded(params / self._scale(params) if self._scaled else params)

    def to_params(self, moved: jax.Array) -> jax.Array:
        """The parameters (P,) at coordinates (F,)."""
        params = self.bounds.to_bounded(moved)
        if self._scaled:
            params = params * self._scale(params)
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
