"""The window of a conditional bin: soft or hard edges in one or several columns."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.soft_window import soft_window


def soft_tophat(x: Any, low: Any, high: Any, softness: Any = 0.04) -> Any:
    """A window that is nearly 1 where ``low < x < high`` and nearly 0 elsewhere.

    The edges are sigmoids or, with softness 0, steps, see ``config.soft_window``.
    """
    return soft_window(x, low, high, softness, jax.nn.sigmoid)


def window_weights(
    columns: Sequence[Any],
    low: Iterable[Any],
    high: Iterable[Any],
    softness: Iterable[Any],
    like: Any,
) -> Any:
    """The product of the windows in each of c conditional columns.

    Args:
        columns: c columns, each (n,).
        low, high: c lower and c upper edges; arrays (m, 1) for m windows at once.
        softness: c values as in ``soft_tophat``.
        like: (n,) array that sets shape and type of the result if there are no columns.

    Returns:
        (n,) or (m, n) weights.
    """
    weights = jnp.ones_like(like)
    for column, lower, upper, soft in zip(columns, low, high, softness, strict=True):
        weights = weights * soft_tophat(column, lower, upper, soft)
    return weights


def traced_softness(softness: Any, hard: Sequence[bool]) -> list[Any]:
    """A list of the traced softness (c,), with the constant 0 for columns with hard edges."""
    return [0 if known else softness[i] for i, known in enumerate(hard)]


def in_window(
    conditions: Sequence[jax.Array], weights: jax.Array, window: Any, hard: Sequence[bool]
) -> jax.Array:
    """Weights (n,) of samples times a window with traced edges.

    Args:
        conditions: c conditional columns, each (n,).
        weights: (n,) weights.
        window: low and high edges and softness, each (c,).
        hard: for each conditional column, whether its edges are hard.
    """
    low, high, softness = (jnp.asarray(a, weights.dtype) for a in window)
    softness = traced_softness(softness, hard)
    return window_weights(conditions, low, high, softness, weights) * weights


def cutoff(dtype: Any) -> float:
    """The value below which a window does not count: eps^(3/2), with the rounding error eps.

    It is 4e-11 in single precision. Even thousands of times as many samples as in the bin then add
    less than the rounding error.
    """
    return float(np.finfo(dtype).eps) ** 1.5


def reach(softness: Any, dtype: Any) -> Any:
    """The reach of a window beyond its edges, in units of the width of the bin; see ``cutoff``."""
    return -math.log(cutoff(dtype)) * softness
