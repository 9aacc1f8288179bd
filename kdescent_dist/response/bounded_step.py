"""A Gauss-Newton step within bounds: an active set of bounds holds parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.response.linearization import Linearization

PATIENCE = 10  # turns without fewer variables on the wrong side, before variables change one by one
ROUNDING = 1e-10  # derivatives at a limit that are rounding errors, relative to the largest at 0


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
    step that is best with it there. Parameters that are not determined stay.

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
    step, held = np.zeros(len(params)), np.zeros(len(params), bool)
    moving = np.flatnonzero(at.determined)
    if not len(moving):
        return step, held
    scale, values, vectors = at.axes
    # A step has no part along directions on which the loss does not depend: they are stiff.
    curvature = (vectors * (values + damping - 1.0)) @ vectors.T + np.eye(len(moving))
    slope = vectors @ (vectors.T @ (gradient[moving] * scale))
    low, high = (box.low - params)[moving] / scale, (box.high - params)[moving] / scale
    step[moving], held[moving] = minimum_in_box(curvature, slope, low, high)
    step[moving] *= scale
    return step, held


def minimum_in_box(
    curvature: np.ndarray, slope: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of slope x + x curvature x / 2 within limits, by block principal pivoting.

    All variables on the wrong side change sides at once, between free, low and high (Portugal,
    Judice & Vicente 1994). If their number has not fallen for some turns, the last one of them
    changes alone, which ends at the minimum (Murty 1974).

    Args:
        curvature: (M, M) positive definite matrix.
        slope: (M,) derivatives at 0.
        low, high: (M,) limits.

    Returns:
        The minimum (M,); and (M,) whether a limit holds the variable.
    """
    side = np.zeros(len(slope), int)  # -1 at the lower limit, 1 at the upper limit, 0 free
    fewest, patience = len(slope) + 1, PATIENCE
    while True:
        x = np.where(side < 0, low, np.where(side > 0, high, 0.0))
        free = side == 0
        rest = slope + curvature @ x
        x[free] = np.linalg.solve(curvature[np.ix_(free, free)], -rest[free])
        force = slope + curvature @ x
        small = ROUNDING * np.max(np.abs(slope), initial=0.0)
        right = np.where(free & (x < low), -1, np.where(free & (x > high), 1, side))
        right = np.where(side * force > small, 0, right)
        wrong = np.flatnonzero(right != side)
        if not len(wrong):
            return x, side != 0
        if len(wrong) < fewest:
            fewest, patience = len(wrong), PATIENCE
        elif patience:
            patience -= 1
        else:
            wrong = wrong[-1:]
        side[wrong] = right[wrong]
