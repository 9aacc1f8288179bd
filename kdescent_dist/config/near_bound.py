"""Whether a parameter is near a bound: one definition for the fit and for the report."""

import math
from typing import Literal

NEAR = 0.01  # fraction of the range of a parameter


def near_bound(
    value: float | None, low: float | None, high: float | None, guess: float
) -> Literal["low", "high", ""]:
    """Name the bound that a value has run into.

    A value is near a bound within 1% of the range between the bounds. The guess stands for a
    missing bound.

    Args:
        value: value of a parameter; None or not finite if unknown.
        low, high: bounds of the parameter; None or infinite for no bound.
        guess: value at the start of the fit.

    Returns:
        The name of the bound, empty if the value is near no bound or unknown.
    """
    if value is None or not math.isfinite(value):
        return ""
    low = None if low is None or not math.isfinite(low) else low
    high = None if high is None or not math.isfinite(high) else high
    reach = NEAR * ((guess if high is None else high) - (guess if low is None else low))
    if low is not None and value - low < reach:
        return "low"
    if high is not None and high - value < reach:
        return "high"
    return ""
