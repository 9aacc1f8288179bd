"""The interface of a statistic: counts of weighted samples at points, additive over disjoint sets.

A pair of a sample and a point has one value per part of a count: a Gaussian kernel has one part, a
plane wave has two parts. A raw count is the sum over samples of value times weight. The rooms above
work with any statistic through this class.
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
    """A kind of count. Methods take one bin at a time.

    A new statistic defines name, parts, ``read`` and ``values``. The other methods have defaults
    that follow from ``values``. A statistic overrides a default with a faster or more precise form.
    All methods but ``read``, ``place`` and ``ready`` are traceable. Instances are hashable, and
    equal instances count in the same way.

    Attributes:
        name: name in configs, files and plots.
        parts: names of the real numbers of a count.
        positive: whether no value is negative: the square of a count over its error is then an
            effective number of samples.
    """

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    positive: ClassVar[bool] = False

    def read(self, options: Mapping[str, Any], columns: Sequence[str]) -> Given:
        """Points, and optional counts, from ``bins.NAME.statistics.{name}`` of a config.

        A statistic whose options give no points must override ``place``.

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
        """Place the points of a bin in its training sample, if ``read`` gives no points.

        All processes call this method together, and use the points of the first process.

        Args:
            key: (2,) words of a random key, a function of seed and statistic.
            density: the training sample of the bin.
            number: ``Given.number``.
            options: the options that ``read`` got.

        Returns:
            The points, as NumPy arrays.

        Raises:
            InputError: the points cannot be placed.
        """
        del key, density, number, options
        raise InputError("the options give no points, and the statistic places none")

    @abstractmethod
    def values(self, columns: Columns, prepared: Any) -> Sequence[jax.Array]:
        """The values of pairs, one table (k, size) per part, with all derivatives.

        Args:
            columns: d coordinates of a block of samples, (size,) each.
            prepared: the result of ``prepare``.
        """

    def ready(self, points: Points) -> Points:
        """The points, with further arrays that a fit needs in each step and computes once.

        Args:
            points: the points of a bin, as NumPy arrays. Arrays ``each`` stay cut by point.
        """
        return points

    def prepare(self, points: Points, origin: jax.Array) -> Any:
        """A pytree of arrays that the other methods need of the points of a bin.

        Args:
            points: the points.
            origin: (d,) position near the samples; relative coordinates keep their digits.
        """
        del origin
        return points

    def finish(self, sums: jax.Array, prepared: Any) -> jax.Array:
        """Counts (k, parts) from raw counts (parts, k), by a linear map such as a norm."""
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
        """Sums (k,) per part over a block, for the sums of squares of ``finish_squares``.

        Args:
            columns: d coordinates of a block of samples, (size,) each.
            squares: (size,) squared weights.
            prepared: the result of ``prepare``.
        """
        return [matmul(table * table, squares) for table in self.values(columns, prepared)]

    def finish_squares(self, sums: jax.Array, total: jax.Array, prepared: Any) -> jax.Array:
        """Squared Poisson errors (k, parts): sums of squared contributions of samples to counts.

        A statistic that overrides ``finish`` must override ``finish_squares``.

        Args:
            sums: (parts, k) results of ``square_sums``, added over blocks.
            total: sum of the squared weights.
            prepared: the result of ``prepare``.
        """
        del total, prepared
        return sums.T

    def factors(self, cotangent: jax.Array, prepared: Any) -> Any:
        """Factors of ``gradients`` for all blocks, from a cotangent (k, parts) of the counts."""
        return self.pull_back(cotangent, prepared)

    def gradients(
        self, columns: Columns, weights: jax.Array, prepared: Any, factors: Any
    ) -> tuple[Columns, jax.Array]:
        """Gradients of sum(counts * cotangent) in the d coordinates and weights, (size,) each."""

        def per_weight(columns: Columns) -> jax.Array:
            tables = self.values(columns, prepared)
            return sum(
                (matmul(f, table) for f, table in zip(factors, tables, strict=True)),
                jnp.zeros_like(weights),
            )

        total, pull = jax.vjp(per_weight, columns)
        return pull(weights)[0], total

    def counts(self, x: jax.Array, weights: jax.Array, points: Points, backend: str) -> jax.Array:
        """Counts (k, parts) of samples, with all derivatives in samples and weights.

        Args:
            x: (n, d) samples.
            weights: (n,) weights.
            points: the points.
            backend: the backend of the sums, see ``counts.backends``.
        """
        del backend
        prepared = self.prepare(points, jax.lax.stop_gradient(near_origin(x)))

        # Otherwise a reverse pass would keep the values of all blocks.
        @jax.checkpoint
        def body(columns: Columns, w: jax.Array) -> list[jax.Array]:
            return self.sums(columns, w, prepared)

        parts = scan_tiles(body, x, weights)
        return self.finish(jnp.stack([tree_sum(part) for part in parts]), prepared)

    def squares(
        self, x: jax.Array, weights: jax.Array, points: Points, backend: str, total: jax.Array
    ) -> jax.Array:
        """Sums (k, parts) of the squared contributions of samples to the counts.

        Args:
            x: (n, d) samples.
            weights: (n,) weights, not squared.
            points: the points.
            backend: see ``counts``.
            total: sum of the squared weights.
        """
        del backend
        prepared = self.prepare(points, near_origin(x))

        def body(columns: Columns, w: jax.Array) -> list[jax.Array]:
            return self.square_sums(columns, w * w, prepared)

        parts = scan_tiles(body, x, weights)
        return self.finish_squares(jnp.stack([tree_sum(p) for p in parts]), total, prepared)
