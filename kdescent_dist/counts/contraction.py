"""What the sums over samples x kernels are made of, and what a backend of them must do.

A pair of a sample and a kernel has one value or two, computed from the coordinates of both; every
count and every gradient is such a table of values, contracted over the samples or the kernels. A
backend does that with memory for few pairs at a time, in the way that suits one kind of hardware.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import jax

Columns = list[jax.Array]  # one array per coordinate
# From the d coordinates and the weights of samples, (size,) each, to m factors (size,).
Moments = Callable[[Columns, jax.Array], Columns]
# From the d coordinates, the weights and r sums of each sample, (size,) each, to columns (size,).
Finish = Callable[[Columns, jax.Array, Columns], Columns]


@dataclass(frozen=True)
class PairTables:
    """Samples x kernels, as a function of the coordinates of both.

    Attributes:
        prepare: from the columns of samples, of shape (size,) each, to their d coordinates.
        kernels: the d coordinates (K,) of the kernels.
        tables: from coordinates of samples and kernels to the values, elementwise.
    """

    prepare: Callable[[Columns], Columns]
    kernels: Columns
    tables: Callable[[Columns, Columns], tuple[jax.Array, ...]]


class Backend(Protocol):
    """One implementation of the contractions; all of them give the same numbers to rounding."""

    def exp2(self, t: jax.Array, /) -> jax.Array:
        """Return 2^t for t <= 0, and exactly 0 far below the smallest normal number."""
        ...

    def transform(self, matrix: jax.Array, columns: Columns) -> Columns:
        """Multiply d columns (size,) by a lower triangular matrix (d, d)."""
        ...

    def over_samples(
        self, pairs: PairTables, x: jax.Array, weights: jax.Array, moments: Moments
    ) -> list[jax.Array]:
        """Sum each table over the samples, times each moment of them.

        Args:
            pairs: the tables.
            x: (n, d) samples.
            weights: (n,) weights.
            moments: the m factors of each sample.

        Returns:
            Per table, (K, m) sums. Summed in blocks, then pairwise, so that rounding does not
            grow with n.
        """
        ...

    def over_kernels(
        self,
        pairs: PairTables,
        x: jax.Array,
        weights: jax.Array,
        rows: list[jax.Array],
        finish: Finish,
    ) -> Columns:
        """Sum all tables over the kernels, times each row of factors.

        Args:
            pairs: the tables.
            x: (n, d) samples.
            weights: (n,) weights.
            rows: per table, (r, K) factors.
            finish: the columns that are wanted of each sample.

        Returns:
            These columns, (n,) each.
        """
        ...
