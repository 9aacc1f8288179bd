"""Terms of the loss: residuals between the sums of the model and of the training catalog."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdescent_dist.bins.stacks import Stack, StackData
from kdescent_dist.bins.sums import BinSums, Draw
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, LossConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sums:
    """Everything that the loss may depend on.

    Attributes:
        weight: sum of all weights.
        bins: the sums in the bins, by the name of the bin or grid.
        statistics: what ``loss.statistics`` returns, added up over blocks.
    """

    weight: Any
    bins: dict[str, BinSums]
    statistics: Any = None


def mean_square(
    config: LossConfig,
    stacks: Sequence[Stack],
    arrays: Sequence[StackData],
    draws: Sequence[Draw],
    model: Sequence[BinSums],
    squares: Sequence[BinSums | None],
    weight: jax.Array,
    training_weight: jax.Array,
) -> jax.Array:
    """The mean of all squared residuals, each times the weights of its term and of its bin.

    Where one of these weights is 0, the residuals do not count in the mean.

    Args:
        config: terms and their weights.
        stacks, arrays: the stacked bins.
        draws: the kernels of the step, with the training sums there.
        model: the sums of the model at the same kernels.
        squares: the sums of squares of what each sample of the model adds to them, None where the
            noise of the model is left out of the errors. They are constants to the gradient: no
            parameter gains by making the model noisy.
        weight, training_weight: sums of all weights of the model and of the training catalog.
    """
    total, count = jnp.zeros_like(weight), jnp.zeros_like(weight)
    for stack, data, draw, sums, noise in zip(stacks, arrays, draws, model, squares, strict=True):
        norms = _norms(stack, sums, draw.truth, weight, training_weight)
        for term_weight, square, counted in _squares(config, data, draw, sums, noise, *norms):
            if term_weight > 0:
                weight_of_bin = data.weight[:, None]
                counted &= weight_of_bin > 0
                weighted = term_weight * weight_of_bin * square
                total += jnp.sum(jnp.where(counted, weighted, 0))
                count += jnp.sum(counted)
    return total / jnp.maximum(count, 1)


def _squares(
    config: LossConfig,
    data: StackData,
    draw: Draw,
    model: BinSums,
    noise: BinSums | None,
    norm_model: jax.Array,
    norm_truth: jax.Array,
) -> Iterator[tuple[float, jax.Array, jax.Array]]:
    """Weight of a term, its squared residuals (m, n), and which of them count."""
    kde = model.kde * norm_model - draw.truth.kde * norm_truth
    fourier = model.fourier * norm_model - draw.truth.fourier * norm_truth
    number = (model.weight - draw.truth.weight)[:, None] / config.volume
    constrained = data.number_density[:, None]
    if config.statistic == "mse":
        yield config.kde, kde**2, jnp.ones_like(kde, bool)
        modulus = fourier.real**2 + fourier.imag**2
        yield config.fourier, modulus, jnp.ones_like(modulus, bool)
        yield config.number_density, number**2, constrained
        return
    errors = _errors(draw.kde_err, draw.fourier_err, data.number_err, norm_truth, config)
    if noise is not None:
        noise, norm = lax.stop_gradient((noise, norm_model))
        fourier_err = lax.complex(jnp.sqrt(noise.fourier.real), jnp.sqrt(noise.fourier.imag))
        of_model = _errors(jnp.sqrt(noise.kde), fourier_err, jnp.sqrt(noise.weight), norm, config)
        errors = map(jnp.hypot, errors, of_model)
    kde_err, cos_err, sin_err, number_err = errors
    # Where there is no error, there is nothing to compare with.
    yield config.kde, *_squared_over(kde, kde_err)
    yield config.fourier, *_squared_over(fourier.real, cos_err)
    yield config.fourier, *_squared_over(fourier.imag, sin_err)
    squares, known = _squared_over(number, number_err)
    yield config.number_density, squares, known & constrained


def _errors(
    kde: jax.Array, fourier: jax.Array, number: jax.Array, norm: jax.Array, config: LossConfig
) -> tuple[jax.Array, ...]:
    """Errors (m, n) of what is compared, from those of the sums."""
    fourier = fourier * norm
    return kde * norm, fourier.real, fourier.imag, number[:, None] / config.volume


def by_group(stacks: Sequence[Stack], stacked: Sequence[BinSums]) -> dict[str, BinSums]:
    """Sort the sums of stacked bins by the name of the bin or grid that they belong to."""
    groups: dict[str, BinSums] = {}
    for stack, sums in zip(stacks, stacked, strict=True):
        for group in dict.fromkeys(b.group for b in stack.bins):
            rows = np.asarray([i for i, b in enumerate(stack.bins) if b.group == group])
            groups[group] = jax.tree.map(lambda a, rows=rows: a[rows], sums)
    return groups


def _norms(
    stack: Stack, model: BinSums, truth: BinSums, weight: Any, training_weight: Any
) -> tuple[jax.Array, jax.Array]:
    """Factors (m, 1) that normalize the counts of the model and of the training catalog."""
    kinds = np.asarray([b.config.normalization for b in stack.bins])

    def factor(in_bin: jax.Array, total: jax.Array) -> jax.Array:
        norm = jnp.where(kinds == "conditional", in_bin, jnp.where(kinds == "density", total, 1))
        # An empty bin has no counts either: its normalized counts are 0.
        return jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)[:, None]

    return factor(model.weight, weight), factor(truth.weight, training_weight)


def _squared_over(residuals: jax.Array, errors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared residuals in units of their errors, and where an error is known."""
    known = errors > 0
    return jnp.where(known, residuals / jnp.where(known, errors, 1), 0) ** 2, known


def check_terms(loss: LossConfig, bins: Mapping[str, BinsConfig], *, custom: bool) -> None:
    """Check that something is compared.

    Args:
        loss: weights of the terms.
        bins: what each bin, or grid of bins, has of them.
        custom: whether there is a term of the user's own.

    Raises:
        InputError: no bin has a term of positive weight.
    """
    terms = (
        one.weight > 0
        and (
            (loss.kde > 0 and one.kernels != 0)
            or (loss.fourier > 0 and one.fourier != 0)
            or (loss.number_density > 0 and one.number_density)
        )
        for one in bins.values()
    )
    if not custom and not any(terms):
        raise InputError(
            "loss: no term is left to fit: give loss.kde, loss.fourier or loss.number_density, "
            "and bins.NAME.weight of bins that have such a term, a positive weight"
        )
