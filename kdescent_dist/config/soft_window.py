"""What ``bins.*.softness`` means, for all who weigh samples by the window of a bin."""

from collections.abc import Callable
from typing import Any


def soft_window(x: Any, low: Any, high: Any, softness: Any, sigmoid: Callable[[Any], Any]) -> Any:
    """A window that is nearly 1 where ``low < x < high`` and nearly 0 elsewhere.

    The window is the product of a rising and a falling sigmoid of width
    ``softness * (high - low)``. With softness 0, the window is exactly 1 where ``low <= x < high``
    and 0 elsewhere, and has no gradient.

    Args:
        x: (n,) values, of NumPy or of JAX.
        low, high: edges of the window.
        softness: width of an edge in units of the window.
        sigmoid: the logistic function for such values.
    """
    if isinstance(softness, int | float) and softness == 0:
        return ((x >= low) & (x < high)).astype(x.dtype)
    # The compiler may turn a division of many by one into this product, or not.
    per_width = 1 / (softness * (high - low))
    return sigmoid((x - low) * per_width) * sigmoid((high - x) * per_width)
