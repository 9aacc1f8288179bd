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

    The edges are as in ``config.soft_window``: sigmoids or, with softness 0, steps.
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
        low, high: c edges of each side; arrays of (m, 1) for m windows at once.
        softness: c values as in ``soft_tophat``.
        like: (n,) samples, for the shape and type of the result where there are no columns.

    Returns:
        (n,) or (m, n) weights.
    """
    weights = jnp.ones_like(like)
    for column, lower, upper, soft in zip(columns, low, high, softness, strict=True):
        weights = weights * soft_tophat(column, lower, upper, soft)
    return weights


def traced_softness(softness: Any, hard: Sequence[bool]) -> list[Any]:
    """Softness (c,) that is traced, with 0 for the columns whose hard edges the compiler knows."""
    return [0 if known else softness[i] for i, known in enumerate(hard)]


def in_window(
    conditions: Sequence[jax.Array], weights: jax.Array, window: Any, hard: Sequence[bool]
) -> jax.Array:
    """Weights (n,) of samples times a window whose edges are traced.

    Args:
        conditions: c conditional columns, each (n,).
        weights: (n,) weights.
        window: low and high edges and softness, each (c,).
        hard: of each conditional column, whether its edges are hard.
    """
    low, high, softness = (jnp.asarray(a, weights.dtype) for a in window)
    softness = traced_softness(softness, hard)
    return window_weights(conditions, low, high, softness, weights) * weights


def reach(softness: Any, dtype: Any) -> Any:
    """How far beyond its edges a window counts, in units of the bin.

    Samples farther away weigh less than the rounding error to the power 3/2 (4e-11 in single
    precision): thousands of times as many of them as there are in the bin stay within rounding.
    """
    return -1.5 * math.log(np.finfo(dtype).eps) * softness
