"""A Gauss-Newton step within bounds: an active set of bounds holds parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.response.linear_response import eigenvalues
from kdescent_dist.response.linearization import Linearization


@dataclass(frozen=True)
class Box:
    """Closed limits (P,) of the parameters, slightly inside the bounds of the fit."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, margin: np.ndarray) -> "Box":
        """Limits within bounds, at a distance of ``margin`` (P,), or of 1e-3 of the range."""
        room = np.where(np.isfinite(low) & np.isfinite(high), 1e-3 * (high - low), np.inf)
        margin = np.minimum(margin, room)
        return cls(low + margin, high - margin)

    def rounded(self, params: np.ndarray, dtype: Any) -> np.ndarray:
        """Parameters within the limits in a type, which rounding does not bring to a bound."""
        low, high = self.low.astype(dtype), self.high.astype(dtype)
        low = np.where(low < self.low, np.nextafter(low, dtype.type(np.inf)), low)
        high = np.where(high > self.high, np.nextafter(high, dtype.type(-np.inf)), high)
        return np.clip(params.astype(dtype), low, high)


def bounded_step(
    params: np.ndarray,
    gradient: np.ndarray,
    at: Linearization,
    box: Box,
    damping: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The step to the minimum of a quadratic function within limits.

    A parameter is held at a limit if the function falls beyond the limit, and the others take the
    step that is best with it there (Stark & Parker 1995). Parameters that are not determined stay.

    Args:
        params: (P,) parameters.
        gradient: (P,) half the derivatives of the function at ``params``.
        at: the loss near the parameters, which gives the second derivatives.
        box: the limits.
        damping: what is added to the diagonal of the second derivatives, in units of the diagonal
            (Marquardt 1963).

    Returns:
        The step (P,); and (P,) whether a limit holds the parameter.
    """
    from scipy.optimize import lsq_linear  # slow to import

    step, held = np.zeros(len(params)), np.zeros(len(params), bool)
    moving = np.flatnonzero(at.determined)
    if not len(moving):
        return step, held
    scale, values, vectors = eigenvalues(at.curvature[np.ix_(moving, moving)])
    values = values + damping
    # |root step / scale - target|^2 is the function but for a constant.
    root = np.sqrt(values)[:, None] * vectors.T
    target = -(vectors.T @ (gradient[moving] * scale)) / np.sqrt(values)
    limits = (box.low - params)[moving] / scale, (box.high - params)[moving] / scale
    found = lsq_linear(root, target, limits, method="bvls", tol=1e-12)
    step[moving] = found.x * scale
    held[moving] = found.active_mask != 0
    return step, held
