"""Tables of samples x kernels, and the protocol of a backend that contracts them.

A pair of a sample and a kernel has one or two values, computed from the coordinates of both. Every
count and every gradient is a table of such values, contracted over the samples or the kernels. A
backend computes contractions with memory for few pairs at a time, for one kind of hardware.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import jax

Columns = list[jax.Array]  # one array per coordinate
# (d coordinates of samples, weights), (size,) each -> m factors (size,).
Moments = Callable[[Columns, jax.Array], Columns]
# (d coordinates of samples, weights, r sums per sample), (size,) each -> columns (size,).
Finish = Callable[[Columns, jax.Array, Columns], Columns]


@dataclass(frozen=True)
class PairTables:
    """Tables of samples x kernels, as functions of the coordinates of both.

    Attributes:
        prepare: maps the columns of samples, (size,) each, to their d coordinates.
        kernels: d coordinates of the kernels, (K,) each.
        tables: maps coordinates of samples and kernels to the values, elementwise with
            broadcasting.
    """

    prepare: Callable[[Columns], Columns]
    kernels: Columns
    tables: Callable[[Columns, Columns], tuple[jax.Array, ...]]


class Backend(Protocol):
    """An implementation of the contractions; all backends agree to rounding."""

    def exp2(self, t: jax.Array, /) -> jax.Array:
        """Return 2^t for t <= 0, with exactly 0 far below the smallest normal number."""
        ...

    def cos_sin(self, turns: Callable[[float], jax.Array], /) -> tuple[jax.Array, jax.Array]:
        """Return cosine and sine of phases in turns; ``turns(start)`` adds ``start`` to them."""
        ...

    def transform(self, matrix: jax.Array, columns: Columns) -> Columns:
        """Multiply d columns (size,) by a lower triangular matrix (d, d)."""
        ...

    def over_samples(
        self, pairs: PairTables, x: jax.Array, weights: jax.Array, moments: Moments
    ) -> list[jax.Array]:
        """Sum each table, times each moment, over the samples.

        Args:
            pairs: the tables.
            x: (n, d) samples.
            weights: (n,) weights.
            moments: returns the m factors of each sample.

        Returns:
            (K, m) sums for each table. Samples are summed in blocks, and blocks pairwise, so that
            rounding errors grow only as the logarithm of n.
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
        """Sum all tables, times each row of factors, over the kernels.

        Args:
            pairs: the tables.
            x: (n, d) samples.
            weights: (n,) weights.
            rows: (r, K) factors for each table.
            finish: maps the r sums of each sample to the columns of the result.

        Returns:
            The columns of the result, (n,) each.
        """
        ...
