"""The density from which chains draw, in variables in which it is nearly standard normal.

The F free parameters p are functions of variables u without bounds (``fitting.logit_map``). The
density of u is that of p times dp/du. With the parameters of the fit at u0, and L L^T the expected
covariance of u there, the variables of the chains are z, with u = u0 + L z.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.fitting.coordinates import Coordinates
from kdescent_dist.fitting.logit_map import LogitMap
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.response.likelihood import Likelihood
from kdescent_dist.response.linear_response import inverse_curvature

OF_WIDTH = 1 / np.sqrt(12)  # standard deviation of a uniform distribution, in its widths
SMALL = 1e-6  # smallest eigenvalue of the correlation matrix that scales a variable


@dataclass(frozen=True)
class Target:
    """A posterior density of F variables z.

    Attributes:
        likelihood: the likelihood.
        coordinates: the map from variables u without bounds to parameters.
        slopes: the map of bounded parameters in ``coordinates``, which has slopes.
        center: (F,) u at z = 0.
        factor: (F, F) the matrix L.
    """

    likelihood: Likelihood
    coordinates: Coordinates
    slopes: LogitMap
    center: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, likelihood: Likelihood, parameters: Parameters, fitted: np.ndarray) -> "Target":
        """The posterior near fitted parameters (P,).

        Raises:
            InputError: the data do not determine a parameter that lacks a bound.
        """
        coordinates = Coordinates.of(parameters, "logit")
        slopes = coordinates.map
        assert isinstance(slopes, LogitMap)
        free, dtype = coordinates.free, likelihood.dtype
        covariance, determined = inverse_curvature(likelihood.information, ~parameters.fixed)
        covariance, determined = covariance[np.ix_(free, free)], determined[free]
        low, high = parameters.low[free], parameters.high[free]
        width = high - low
        if lost := [parameters.names[int(i)] for i in free[~determined & ~np.isfinite(width)]]:
            raise InputError(
                f"parameters not determined by the data: {', '.join(lost)}: a posterior needs both "
                "bounds of each; or hold them: parameters.NAME.fixed=true"
            )
        spread = np.sqrt(np.where(determined, np.diagonal(covariance), (OF_WIDTH * width) ** 2))
        covariance = np.where(np.outer(determined, determined), covariance, np.diag(spread**2))
        # At a bound, u is infinite: begin one error away from it.
        away = np.minimum(spread, np.where(np.isfinite(width), 0.25 * width, np.inf))
        inside = np.clip(np.asarray(fitted, float)[free], low + away, high - away)
        params = np.asarray(fitted, dtype).copy()
        params[free] = inside
        center = np.asarray(coordinates.of_params(params), float)
        log_slope = slopes.log_slope(jnp.asarray(center, dtype))
        slope = np.exp(np.asarray(log_slope, float)) * coordinates.scale
        scale = spread / slope
        values, vectors = np.linalg.eigh(covariance / np.outer(spread, spread))
        factor = scale[:, None] * vectors * np.sqrt(np.maximum(values, SMALL * values[-1]))
        return cls(likelihood, coordinates, slopes, center.astype(dtype), factor.astype(dtype))

    @property
    def size(self) -> int:
        """Number F of variables."""
        return len(self.center)

    def params(self, z: Any) -> jax.Array:
        """The parameters (P,) at variables z (F,)."""
        return self.coordinates.to_params(self._u(z))

    def log_density(self, z: jax.Array, key: jax.Array, data: Any) -> jax.Array:
        """The log density of variables z (F,), but for a constant.

        A parameter without a prior has one that is uniform in the parameter, within its bounds.

        Args:
            z: the variables.
            key: random key of the model.
            data: ``Likelihood.data``.
        """
        u = self._u(z)
        params = self.coordinates.to_params(u)
        of_map = jnp.sum(self.slopes.log_slope(u))
        return self.likelihood.log_posterior(params, key, data) + of_map

    def _u(self, z: jax.Array) -> jax.Array:
        return jnp.asarray(self.center) + matmul(jnp.asarray(self.factor), z)
