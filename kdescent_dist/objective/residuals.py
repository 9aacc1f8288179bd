"""Residuals between the sums of the model and the sums of the training catalog.

The loss is the mean of squared residuals. The errors of the parameters use derivatives of the
compared numbers with respect to the sums. The report draws the compared numbers and their errors.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdescent_dist.bins.bin_sums import BinSquares, BinSums
from kdescent_dist.bins.ratio_errors import ratio_variances
from kdescent_dist.config.schema import LossConfig
from kdescent_dist.counts.statistics import ordered


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Compared:
    """The numbers that the loss compares in m bins, or their errors.

    Attributes:
        counts: names of statistics to (m, points, parts) normalized counts.
        number: (m,) number densities: weights in the bins, divided by the volume.
    """

    counts: dict[str, Any]
    number: Any


def norms(kinds: Sequence[str], in_bin: jax.Array, weight: Any) -> jax.Array:
    """Factors (m,) that normalize the counts in bins.

    Args:
        kinds: for each bin, whether counts are divided by the weight in the bin (``conditional``),
            divided by the total weight (``density``), or not normalized (``counts``).
        in_bin: (m,) sums of the weights in the bins.
        weight: sum of all weights.
    """
    which = np.asarray(kinds)
    norm = jnp.where(which == "conditional", in_bin, jnp.where(which == "density", weight, 1))
    # An empty bin has no counts either: its normalized counts are 0.
    return jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)


def normalized(sums: BinSums, factors: jax.Array, volume: float) -> Compared:
    """The compared numbers from the sums in m bins.

    Args:
        sums: sums over samples.
        factors: (m,) result of ``norms``.
        volume: ``loss.volume``.
    """
    counts = {name: values * factors[:, None, None] for name, values in sums.counts.items()}
    return Compared(counts, sums.weight / volume)


def model_errors(sums: BinSums, squares: BinSquares, factors: jax.Array, volume: float) -> Compared:
    """Errors of the compared numbers of a model in m bins, see ``bins.ratio_errors``.

    The errors are constants in any derivative: otherwise a noisier model would lower the loss. A
    variance below the rounding errors becomes the largest rounding error, which is continuous in
    the parameters.

    Args:
        sums, squares: sums over the samples of the model.
        factors: (m,) result of ``norms``.
        volume: ``loss.volume``.
    """
    sums, squares, factors = lax.stop_gradient((sums, squares, factors))
    by, norm = factors[:, None, None], squares.norm[:, None, None]
    counts = {}
    for name, variance in squares.counts.items():
        if name in squares.cross:
            ratio = sums.counts[name] * by
            variance = jnp.maximum(*ratio_variances(ratio, variance, squares.cross[name], norm))
        counts[name] = jnp.sqrt(variance) * by
    return Compared(counts, jnp.sqrt(squares.weight) / volume)


def expected_errors(
    training: Compared,
    sums: BinSums,
    squares: BinSquares,
    factors: jax.Array,
    volume: float,
    kinds: Sequence[str],
    unit_variances: Mapping[str, Any],
) -> Compared:
    """Errors of the numbers of a catalog like the training catalog, see ``bins.expected_errors``.

    The errors are constants in any derivative.

    Args:
        training: errors from the rows of the training catalog. They stay where they are infinite,
            as there is nothing to compare, and for given counts.
        sums: sums over the samples of the model.
        squares: sums of squares over the same samples, with the square roots of their weights.
        factors: (m,) result of ``norms``.
        volume: ``loss.volume``.
        kinds: normalization of the counts of each bin.
        unit_variances: names to (m,) results of ``bins.expected_errors.unit_variances``.
    """
    sums, squares, factors = lax.stop_gradient((sums, squares, factors))
    plain = np.asarray(kinds) == "counts"
    divisor = jnp.where(plain, squares.weight, squares.norm)
    times = jnp.where(plain, sums.weight, 1) / jnp.where(divisor > 0, divisor, 1)
    counts = {}
    for name, one in ordered(squares.counts).items():
        unit, variance = unit_variances[name][:, None, None], squares.counts[name]
        one_row = 0.0
        if one.positive:
            known = sums.counts[name] > 0
            value = jnp.where(known, variance / jnp.where(known, sums.counts[name], 1), 0)
            one_row = (unit * jnp.max(value, axis=(1, 2), keepdims=True)) ** 2
        if name in squares.cross:
            ratio, norm = sums.counts[name] * factors[:, None, None], squares.norm[:, None, None]
            variance = jnp.maximum(*ratio_variances(ratio, variance, squares.cross[name], norm))
        error = jnp.sqrt(variance * times[:, None, None] * unit + one_row)
        rows = training.counts[name]
        counts[name] = jnp.where((unit > 0) & jnp.isfinite(rows), error, rows)
    unit = unit_variances[""]
    number = jnp.sqrt(unit * sums.weight + unit**2) / volume
    return Compared(counts, jnp.where(unit > 0, number, training.number))


def errors_of_difference(training: Compared, model: Compared | None) -> Compared:
    """The errors of model minus training catalog, 0 where there is nothing to compare.

    Args:
        training: errors of the numbers of the training catalog, see ``training_errors`` and
            ``expected_errors``.
        model: errors of the numbers of the model, None to leave them out.
    """
    errors = training if model is None else jax.tree.map(jnp.hypot, training, model)
    return jax.tree.map(lambda error: jnp.where(jnp.isfinite(error), error, 0), errors)


@dataclass(frozen=True)
class Residual:
    """The residuals of one term of the loss in m bins.

    Attributes:
        weight: weight of the term in the loss.
        values: (m, points, parts) differences, model minus training catalog.
        errors: (m, points, parts) errors of the differences, None for plain differences.
        counted: (m,) whether the term counts for a bin.
    """

    weight: float
    values: jax.Array
    errors: jax.Array | None
    counted: jax.Array

    def squares(self) -> Iterator[tuple[jax.Array, jax.Array]]:
        """Squares (m, points), and whether each square counts in the mean.

        Without errors, the parts of a count form one residual: its square is the sum of the squared
        parts. With errors, each part is a residual of its own. A part with an error of 0 does not
        count, because there is nothing to compare with.
        """
        parts = [self.values[..., i] for i in range(self.values.shape[-1])]
        counted = self.counted[:, None]
        if self.errors is None:
            square = sum((part**2 for part in parts[1:]), parts[0] ** 2)
            yield square, counted & jnp.ones_like(square, bool)
            return
        for i, part in enumerate(parts):
            error = self.errors[..., i]
            known = error > 0
            yield jnp.where(known, part / jnp.where(known, error, 1), 0) ** 2, known & counted

    def weights(self) -> jax.Array:
        """Weights (m, points, parts) of the squared ``values`` in the sum of all squares."""
        counted = self.weight * self.counted[:, None, None]
        if self.errors is None:
            return counted * jnp.ones_like(self.values)
        known = self.errors > 0
        return jnp.where(known, counted / jnp.where(known, self.errors, 1) ** 2, 0)


def residuals(
    config: LossConfig,
    model: Compared,
    training: Compared,
    errors: Compared | None,
    number_density: jax.Array,
) -> Iterator[Residual]:
    """The residuals of each term: the statistics in a fixed order, then the number density.

    Args:
        config: terms and their weights.
        model, training: the compared numbers.
        errors: the errors of the difference, None for plain differences.
        number_density: (m,) whether the number-density term counts for a bin.
    """
    every = jnp.ones_like(number_density)
    for name in ordered(model.counts):
        apart = model.counts[name] - training.counts[name]
        error = None if errors is None else errors.counts[name]
        yield Residual(weight_of(config, name), apart, error, every)
    apart = (model.number - training.number)[:, None, None]
    error = None if errors is None else errors.number[:, None, None]
    yield Residual(config.number_density, apart, error, number_density)


def weight_of(config: LossConfig, name: str) -> float:
    """The weight of a statistic in the loss, by default 1."""
    return float(config.weights.get(name, 1.0))
