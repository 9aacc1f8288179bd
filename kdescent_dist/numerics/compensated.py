"""Sums of arrays in twice the digits of double precision, so that their order does not matter."""

from typing import Any

import jax
import numpy as np


class CompensatedSum:
    """A sum of pytrees of arrays, added one after the other.

    The rounding error of each addition is kept and added at the end ("two-sum", Knuth 1969). The
    sum of numbers in single precision is exact if their magnitudes differ by less than about 2^60.
    """

    def __init__(self) -> None:
        self._total: Any = None
        self._lost: Any = None

    def add(self, values: Any) -> None:
        """Add a pytree of arrays, always of the same structure."""
        values = jax.tree.map(lambda a: np.asarray(a, float), values)
        if self._total is None:
            self._total, self._lost = values, jax.tree.map(np.zeros_like, values)
            return
        total = jax.tree.map(np.add, self._total, values)
        self._lost = jax.tree.map(_with_rounding, self._lost, self._total, values, total)
        self._total = total

    def add_each(self, values: Any) -> None:
        """Add each entry of a pytree of arrays along their leading axis."""
        for i in range(len(jax.tree.leaves(values)[0])):
            self.add(jax.tree.map(lambda a, i=i: a[i], values))

    def parts(self) -> tuple[Any, Any]:
        """Two pytrees, the rounded sum and the sum of rounding errors, which add up to the sum."""
        return self._total, self._lost

    def total(self) -> Any:
        """The sum in double precision."""
        return jax.tree.map(np.add, self._total, self._lost)


def _with_rounding(lost: Any, one: Any, other: Any, total: Any) -> Any:
    """``lost``, and the rounding error of ``total``, the sum of ``one`` and ``other``."""
    part = total - one
    return lost + ((one - (total - part)) + (other - part))
