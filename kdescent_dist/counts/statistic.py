"""What a statistic is: numbers of weighted samples at points, which add up over disjoint sets.

A pair of a sample and a point has one value per part of a count: a Gaussian kernel has one part, a
plane wave two. A raw count is the sum of the values, times the weights of the samples. All above
this file, from the bins to the report, works with any statistic through this class.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.contraction import Columns
from kdescent_dist.counts.origin import near_origin
from kdescent_dist.counts.placement import TrainingDensity
from kdescent_dist.counts.points import Given, Points
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.tiles import matmul, scan_tiles


class Statistic(ABC):
    """A kind of count. Every method is traceable, and takes one bin at a time.

    A new statistic has a name, parts, ``read`` and ``values``. All else has a default that follows
    from ``values``. A statistic gives a faster or more precise form of its own where one is known.
    Instances are hashable, and equal instances count in the same way.

    Attributes:
        name: in configs, files and plots.
        parts: names of the real numbers of a count.
        positive: whether no value is negative: a count over its error then tells how many samples
            it is of.
    """

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    positive: ClassVar[bool] = False

    def read(self, options: Mapping[str, Any], columns: Sequence[str]) -> Given:
        """The points, and what is known there, from ``bins.NAME.statistics.{name}`` of a config.

        A statistic whose options give no points has a ``place`` of its own.

        Args:
            options: the options.
            columns: names of the d columns that the bin compares.

        Raises:
            InputError: an option cannot be used; the message names the option.
        """
        del options, columns
        raise InputError(f"the statistic {self.name} has no options")

    def place(
        self,
        key: np.ndarray,
        density: TrainingDensity,
        number: int | None,
        options: Mapping[str, Any],
    ) -> Points:
        """Place the points of a bin in its training sample, where ``read`` gives none.

        All processes call this together. The points are those of the first process.

        Args:
            key: (2,) words of a random key, of the seed and of the statistic.
            density: the training sample of the bin.
            number: ``Given.number``.
            options: what ``read`` was given.

        Returns:
            The points, as arrays of NumPy.

        Raises:
            InputError: the points cannot be placed.
        """
        del key, density, number, options
        raise InputError("the options give no points, and the statistic places none")

    @abstractmethod
    def values(self, columns: Columns, prepared: Any) -> Sequence[jax.Array]:
        """The values of pairs, one table (k, size) per part, with all their derivatives.

        Args:
            columns: d coordinates of a block of samples, (size,) each.
            prepared: what ``prepare`` returns.
        """

    def prepare(self, points: Points, origin: jax.Array) -> Any:
        """What the other methods need of the points of a bin: a pytree of arrays.

        Args:
            points: the points.
            origin: (d,) a position near the samples, relative to which coordinates keep digits.
        """
        del origin
        return points

    def finish(self, sums: jax.Array, prepared: Any) -> jax.Array:
        """Counts (k, parts) from raw counts (parts, k): a linear map, such as a norm."""
        del prepared
        return sums.T

    def pull_back(self, cotangent: jax.Array, prepared: Any) -> jax.Array:
        """The transpose of ``finish``: (parts, k) from (k, parts)."""
        parts, number = cotangent.shape[::-1]
        zeros = jnp.zeros((parts, number), cotangent.dtype)
        return jax.vjp(lambda sums: self.finish(sums, prepared), zeros)[1](cotangent)[0]

    def sums(self, columns: Columns, weights: jax.Array, prepared: Any) -> list[jax.Array]:
        """Raw counts of a block, (k,) per part."""
        return [matmul(table, weights) for table in self.values(columns, prepared)]

    def square_sums(self, columns: Columns, squares: jax.Array, prepared: Any) -> list[jax.Array]:
        """Sums (k,) per part from which ``finish_squares`` gets the sums of the squares.

        Args:
            columns: d coordinates of a block of samples, (size,) each.
            squares: (size,) squared weights.
            prepared: what ``prepare`` returns.
        """
        return [matmul(table * table, squares) for table in self.values(columns, prepared)]

    def finish_squares(self, sums: jax.Array, total: jax.Array, prepared: Any) -> jax.Array:
        """Sums (k, parts) of squares of what each sample adds to a count: squared Poisson errors.

        A statistic with a ``finish`` of its own has a ``finish_squares`` of its own.

        Args:
            sums: (parts, k) what ``square_sums`` adds up.
            total: sum of the squared weights.
            prepared: what ``prepare`` returns.
        """
        del total, prepared
        return sums.T

    def factors(self, cotangent: jax.Array, prepared: Any) -> Any:
        """What ``gradients`` needs of a cotangent (k, parts) of the counts, for all blocks."""
        return self.pull_back(cotangent, prepared)

    def gradients(
        self, columns: Columns, weights: jax.Array, prepared: Any, factors: Any
    ) -> tuple[Columns, jax.Array]:
        """Gradients of counts times their cotangent, in d coordinates and in weights of a block."""

        def per_weight(columns: Columns) -> jax.Array:
            tables = self.values(columns, prepared)
            return sum(
                (matmul(f, table) for f, table in zip(factors, tables, strict=True)),
                jnp.zeros_like(weights),
            )

        total, pull = jax.vjp(per_weight, columns)
        return pull(weights)[0], total

    def counts(self, x: jax.Array, weights: jax.Array, points: Points, backend: str) -> jax.Array:
        """Counts (k, parts) of samples, with all their derivatives in samples and weights.

        Args:
            x: (n, d) samples.
            weights: (n,) weights.
            points: the points.
            backend: the backend of the sums, see ``counts.backends``.
        """
        del backend
        prepared = self.prepare(points, jax.lax.stop_gradient(near_origin(x)))

        # The values of all blocks would otherwise be kept for a reverse pass.
        @jax.checkpoint
        def body(columns: Columns, w: jax.Array) -> list[jax.Array]:
            return self.sums(columns, w, prepared)

        parts = scan_tiles(body, x, weights)
        return self.finish(jnp.stack([tree_sum(part) for part in parts]), prepared)

    def squares(
        self, x: jax.Array, weights: jax.Array, points: Points, backend: str, total: jax.Array
    ) -> jax.Array:
        """Sums (k, parts) of the squares of what each sample adds to the counts.

        Args:
            x: (n, d) samples.
            weights: (n,) weights.
            points: the points.
            backend: as of ``counts``.
            total: sum of the squared weights.
        """
        del backend
        prepared = self.prepare(points, near_origin(x))

        def body(columns: Columns, w: jax.Array) -> list[jax.Array]:
            return self.square_sums(columns, w * w, prepared)

        parts = scan_tiles(body, x, weights)
        return self.finish_squares(jnp.stack([tree_sum(p) for p in parts]), total, prepared)
