"""Lower and upper bounds as two vectors; a missing bound is infinite."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError


def limits_of(pairs: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (parameters,), from one ``(low, high)`` per parameter.

    Args:
        pairs: an array (parameters, 2), or a sequence of ``(low, high)`` or None; None for no
            bounds at all. A bound that is None is infinite.
        size: number of parameters.

    Raises:
        InputError: the number of pairs is not ``size``.
    """
    if pairs is None:
        pairs = [None] * size
    elif hasattr(pairs, "dtype"):
        pairs = np.asarray(pairs)  # indexing a JAX array would run a program per entry
    if len(pairs) != size:
        raise InputError(f"param_bounds has {len(pairs)} entries for {size} parameters")
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    for i, pair in enumerate(pairs):
        if pair is None:
            continue
        if pair[0] is not None:
            low[i] = float(pair[0])
        if pair[1] is not None:
            high[i] = float(pair[1])
    return low, high


def rounded(limits: np.ndarray, kind: Any) -> np.ndarray:
    """Bounds in a precision; a bound beyond its largest number becomes infinite."""
    with np.errstate(over="ignore"):
        return limits.astype(kind)


def check_within(
    values: np.ndarray, low: np.ndarray, high: np.ndarray, names: Sequence[str], what: str
) -> None:
    """Check that lower bounds are below upper bounds, and values strictly between the bounds.

    Args:
        values: (parameters,) values.
        low, high: (parameters,) bounds.
        names: names of the parameters, for messages.
        what: what the values are, for messages.

    Raises:
        InputError: names the first parameter with bad bounds or a bad value.
    """
    for name, value, lower, upper in zip(names, values, low, high, strict=True):
        if np.isnan(lower) or np.isnan(upper) or not lower < upper:
            raise InputError(f"{name}: lower bound {lower:g} is not below upper bound {upper:g}")
        if not np.isfinite(value):
            raise InputError(f"{name}: {what} {value:g} is not a finite number")
        if not lower < value < upper:
            raise InputError(
                f"{name}: {what} {value:g} is outside its bounds ({lower:g}, {upper:g})"
            )
