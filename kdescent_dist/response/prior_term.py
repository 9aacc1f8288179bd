"""The prior of the parameters in the loss at fixed points, in double precision.

The loss is there a sum of squares in units of errors, like -2 log of a likelihood, so the prior
adds -2 log p, with the natural logarithm of its density p.
"""

from dataclasses import dataclass

import jax
import numpy as np

from kdescent_dist.objective.log_prior import LogPrior
from kdescent_dist.response.compared import double


@dataclass(frozen=True)
class PriorTerm:
    """-2 log p as a function of the parameters (P,), but for a constant."""

    log_prior: LogPrior

    def value(self, params: np.ndarray) -> float:
        with jax.enable_x64(True):
            return -2.0 * float(self.log_prior(double(params)))

    def half_gradient(self, params: np.ndarray) -> np.ndarray:
        """Half the gradient (P,)."""
        with jax.enable_x64(True):
            return -np.asarray(jax.grad(self.log_prior)(double(params)))

    def curvature(self, params: np.ndarray) -> np.ndarray:
        """Half the second derivative (P,) for each parameter, and 0 where it is negative.

        It is the inverse squared width of a normal prior.
        """
        with jax.enable_x64(True):
            one = jax.hessian(self.log_prior)(double(params))
            return np.maximum(-np.diagonal(np.asarray(one)), 0.0)
