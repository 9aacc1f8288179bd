"""The window of a bin with soft edges (``bins.*.softness``), for the fit and for the report."""

from collections.abc import Callable
from typing import Any


def soft_window(x: Any, low: Any, high: Any, softness: Any, sigmoid: Callable[[Any], Any]) -> Any:
    """A window (n,) that is nearly 1 where ``low < x < high`` and nearly 0 elsewhere.

    The window is ``sigmoid((x - low) / width) sigmoid((high - x) / width)``, where ``width`` is
    ``softness * (high - low)``. With softness 0, the window is exactly 1 where ``low <= x < high``
    and 0 elsewhere, and has no gradient.

    Args:
        x: (n,) values, a NumPy or JAX array.
        low, high: edges of the window, in units of ``x``.
        softness: width of an edge in units of the window; 0 must be a Python number, not an array.
        sigmoid: the logistic function for this type of array.
    """
    if isinstance(softness, int | float) and softness == 0:
        return ((x >= low) & (x < high)).astype(x.dtype)
    # XLA may or may not turn a division by a scalar into this product; bits must not depend on it.
    per_width = 1 / (softness * (high - low))
    return sigmoid((x - low) * per_width) * sigmoid((high - x) * per_width)
