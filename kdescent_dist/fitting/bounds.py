"""Bounded parameters, and the unbounded ones that the optimizer moves.

With both bounds finite, ``u = s tan((p - mid) / s)`` with ``s = (high - low) / pi``; with one,
``u = p - low + 1 / (low - p)`` or its mirror image; without, the identity: the transformations
of diffopt's ``kdescent``, so that a given optimizer takes the same path.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError


@dataclass(frozen=True)
class Bounds:
    """Lower and upper bounds of each parameter, infinite where there is none.

    Attributes:
        low: (parameters,) lower bounds.
        high: (parameters,) upper bounds.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def from_pairs(cls, pairs: Sequence | np.ndarray | jax.Array | None, size: int) -> "Bounds":
        """Build bounds from one ``(low, high)`` or None for each parameter.

        Raises:
            InputError: their number is not ``size``, or a lower bound is not below the upper one.
        """
        if pairs is None:
            pairs = [None] * size
        elif isinstance(pairs, jax.Array):
            pairs = np.asarray(pairs)  # to take it apart on a device takes a program each
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
        return cls(low, high)

    def check(self, params: np.ndarray, names: Sequence[str], what: str = "guess") -> None:
        """Check the bounds themselves, and that ``params`` lie strictly within them.

        Raises:
            InputError: names the first parameter that does not.
        """
        for name, value, low, high in zip(names, params, self.low, self.high, strict=True):
            if np.isnan(low) or np.isnan(high) or not low < high:
                raise InputError(f"{name}: lower bound {low:g} is not below upper bound {high:g}")
            if not np.isfinite(value):
                raise InputError(f"{name}: {what} {value:g} is not a finite number")
            if not low < value < high:
                raise InputError(
                    f"{name}: {what} {value:g} is outside its bounds ({low:g}, {high:g})"
                )

    def to_unbounded(self, params: jax.Array | np.ndarray) -> jax.Array:
        """Map bounded (..., parameters) to unbounded ones."""
        params = jnp.asarray(params)
        both, only_low, only_high = self._cases()
        low, high, mid, scale = self._constants(params.dtype)
        two = scale * jnp.tan((jnp.where(both, params, mid) - mid) / scale)
        above = jnp.where(only_low, params - low, 1.0)
        below = jnp.where(only_high, high - params, 1.0)
        one_low = above - 1.0 / above
        one_high = 1.0 / below - below
        return jnp.where(
            both, two, jnp.where(only_low, one_low, jnp.where(only_high, one_high, params))
        )

    def to_bounded(self, unbounded: jax.Array) -> jax.Array:
        """Map unbounded (..., parameters) to bounded ones."""
        both, only_low, only_high = self._cases()
        low, high, mid, scale = self._constants(unbounded.dtype)
        two = mid + scale * jnp.arctan(unbounded / scale)
        root = jnp.sqrt(unbounded**2 + 4.0)
        one_low = 0.5 * (2.0 * low + unbounded + root)
        one_high = 0.5 * (2.0 * high + unbounded - root)
        return jnp.where(
            both, two, jnp.where(only_low, one_low, jnp.where(only_high, one_high, unbounded))
        )

    def _cases(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        has_low, has_high = np.isfinite(self.low), np.isfinite(self.high)
        return has_low & has_high, has_low & ~has_high, ~has_low & has_high

    def _constants(self, dtype: np.dtype) -> tuple[np.ndarray, ...]:
        # Placeholders stand where a bound is infinite, so that unused branches stay finite and
        # their zero cotangents do not turn into NaN.
        both, only_low, only_high = self._cases()
        low = np.where(both | only_low, self.low, 0.0)
        high = np.where(both | only_high, self.high, 1.0)
        mid = np.where(both, (low + high) / 2.0, 0.0)
        scale = np.where(both, (high - low) / np.pi, 1.0)
        return tuple(a.astype(dtype) for a in (low, high, mid, scale))
