"""Terms of the loss: the mean square of the residuals, and what a term of the user's own gets."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.bins.stacks import BinStack, StackArrays
from kdescent_dist.bins.sums import DrawnPoints
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import BinsConfig, LossConfig
from kdescent_dist.objective.residuals import normalized, norms, residuals, weight_of


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sums:
    """Everything that the loss may depend on.

    Attributes:
        weight: sum of all weights.
        bins: the sums in the bins, by the name of the bin or grid.
        extra_sums: what ``loss.extra_sums`` returns, added up over blocks.
    """

    weight: Any
    bins: dict[str, BinSums]
    extra_sums: Any = None

    @property
    def statistics(self) -> Any:
        """The earlier name of ``extra_sums``, for terms of users that were written with it."""
        warnings.warn("sums.statistics is now sums.extra_sums", FutureWarning, stacklevel=2)
        return self.extra_sums


def mean_square(
    config: LossConfig,
    stacks: Sequence[BinStack],
    arrays: Sequence[StackArrays],
    draws: Sequence[DrawnPoints],
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
        draws: the points of the step, with the training sums there.
        model: the sums of the model at the same points.
        squares: the sums of squares of what each sample of the model adds to them, None where the
            noise of the model is left out of the errors. They are constants to the gradient: no
            parameter gains by making the model noisy.
        weight, training_weight: sums of all weights of the model and of the training catalog.
    """
    total, count = jnp.zeros_like(weight), jnp.zeros_like(weight)
    for stack, data, draw, sums, noise in zip(stacks, arrays, draws, model, squares, strict=True):
        kinds = tuple(b.config.normalization for b in stack.bins)
        factors = norms(kinds, sums.weight, weight)
        training_factors = norms(kinds, draw.truth.weight, training_weight)
        of_model = normalized(sums, factors, config.volume)
        of_training = normalized(draw.truth, training_factors, config.volume)
        errors = None
        if config.kind == "chisq":
            of_draw = BinSums(data.number_err, draw.errors)
            errors = normalized(of_draw, training_factors, config.volume)
            if noise is not None:
                factors = lax.stop_gradient(factors)
                errors = errors.combined(normalized(_roots(noise), factors, config.volume))
        for residual in residuals(config, of_model, of_training, errors, data.number_density):
            weight_of_bin = data.weight[:, None]
            for square, counted in residual.squares() if residual.weight > 0 else ():
                weighted = residual.weight * weight_of_bin * square
                counted &= weight_of_bin > 0
                total += jnp.sum(jnp.where(counted, weighted, 0))
                count += jnp.sum(counted)
    return total / jnp.maximum(count, 1)


def by_group(stacks: Sequence[BinStack], stacked: Sequence[BinSums]) -> dict[str, BinSums]:
    """Sort the sums of stacked bins by the name of the bin or grid that they belong to."""
    groups: dict[str, BinSums] = {}
    for stack, sums in zip(stacks, stacked, strict=True):
        for group in dict.fromkeys(b.group for b in stack.bins):
            rows = np.asarray([i for i, b in enumerate(stack.bins) if b.group == group])
            groups[group] = jax.tree.map(lambda a, rows=rows: a[rows], sums)
    return groups


def _roots(squares: BinSums) -> BinSums:
    """Errors from sums of squares, which are constants to any derivative."""
    return jax.tree.map(jnp.sqrt, lax.stop_gradient(squares))


def check_terms(loss: LossConfig, bins: Mapping[str, BinsConfig], *, custom: bool) -> None:
    """Check that the weights are of statistics that are there, and that something is compared.

    Args:
        loss: weights of the terms.
        bins: what each bin, or grid of bins, has of them.
        custom: whether there is a term of the user's own.

    Raises:
        InputError: no bin has a term of positive weight, or a weight is of no statistic.
    """
    used = dict.fromkeys(["kde", "fourier", *(n for one in bins.values() for n in one.statistics)])
    for name in loss.weights:
        if name not in used:
            raise InputError(
                f"loss.weights.{name}: no bin has such a statistic, see bins.NAME.statistics; "
                f"{closest(name, used)}"
            )
    terms = (
        one.weight > 0
        and (
            (weight_of(loss, "kde") > 0 and one.kernels != 0)
            or (weight_of(loss, "fourier") > 0 and one.fourier != 0)
            or any(weight_of(loss, name) > 0 for name in one.statistics)
            or (loss.number_density > 0 and one.number_density)
        )
        for one in bins.values()
    )
    if not custom and not any(terms):
        raise InputError(
            "loss: no term is left to fit: give loss.weights.kde, loss.weights.fourier or "
            "loss.number_density, and bins.NAME.weight of bins that have such a term, a positive "
            "weight"
        )
