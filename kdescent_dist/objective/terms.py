"""Terms of the loss: the mean square of the residuals, and the arguments of ``loss.custom``."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin_sums import BinSquares, BinSums
from kdescent_dist.bins.stacks import BinStack, StackArrays
from kdescent_dist.bins.sums import DrawnPoints
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import BinsConfig, LossConfig
from kdescent_dist.objective.residuals import (
    Compared,
    errors_of_difference,
    expected_errors,
    model_errors,
    normalized,
    norms,
    residuals,
    weight_of,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sums:
    """The sums over the model, or over the training catalog, as ``loss.custom`` gets them.

    Attributes:
        weight: sum of all weights.
        bins: names of bins or grids to the sums in their bins.
        extra_sums: sums of ``loss.extra_sums`` over the model; None for the training catalog.
    """

    weight: Any
    bins: dict[str, BinSums]
    extra_sums: Any = None

    @property
    def statistics(self) -> Any:
        """The former name of ``extra_sums``, which older terms of users use."""
        warnings.warn("sums.statistics is now sums.extra_sums", FutureWarning, stacklevel=2)
        return self.extra_sums


def mean_square(
    config: LossConfig,
    stacks: Sequence[BinStack],
    arrays: Sequence[StackArrays],
    draws: Sequence[DrawnPoints],
    model: Sequence[BinSums],
    squares: Sequence[BinSquares | None],
    expected: Sequence[BinSquares | None],
    weight: jax.Array,
    training_weight: jax.Array,
    of_prior: jax.Array | None = None,
) -> jax.Array:
    """The mean of all squared residuals, each times the weights of its term and of its bin.

    Residuals with a weight of 0 do not count in the mean.

    Args:
        config: terms and their weights.
        stacks, arrays: the stacked bins.
        draws: the points of the step, and the training sums at the points.
        model: the sums of the model at the same points.
        squares: the sums of squares of the model's samples, None to leave the noise of the model
            out of the errors.
        expected: the sums of ``bins.expected_errors`` over the model's samples, None for errors
            from the rows of the training catalog.
        weight, training_weight: sums of all weights of the model and of the training catalog.
        of_prior: -2 log of the density of the prior, which is added to the sum of squares.
    """
    count = jnp.zeros_like(weight)
    total = count if of_prior is None else of_prior
    of_stacks = zip(stacks, arrays, draws, model, squares, expected, strict=True)
    for stack, data, draw, sums, noise, galaxies in of_stacks:
        factors = norms(stack.kinds, sums.weight, weight)
        training_factors = norms(stack.kinds, draw.truth.weight, training_weight)
        of_model = normalized(sums, factors, config.volume)
        of_training = normalized(draw.truth, training_factors, config.volume)
        errors = None
        if config.of_steps == "chisq":
            of_draw = Compared(draw.errors, data.number_err / config.volume)
            if galaxies is not None:
                of_draw = expected_errors(
                    *(of_draw, sums, galaxies, factors, config.volume, stack.kinds),
                    data.unit_variances,
                )
            of_noise = None
            if noise is not None:
                of_noise = model_errors(sums, noise, factors, config.volume)
            errors = errors_of_difference(of_draw, of_noise)
        for residual in residuals(config, of_model, of_training, errors, data.number_density):
            weight_of_bin = data.weight[:, None]
            for square, counted in residual.squares() if residual.weight > 0 else ():
                weighted = residual.weight * weight_of_bin * square
                counted &= weight_of_bin > 0
                total += jnp.sum(jnp.where(counted, weighted, 0))
                count += jnp.sum(counted)
    return total / jnp.maximum(count, 1)


def by_group(stacks: Sequence[BinStack], stacked: Sequence[BinSums]) -> dict[str, BinSums]:
    """The sums of stacked bins by the key of the config under which the bins are defined.

    Bins of one key may lie in several stacks, such as bins with different conditional columns.
    Their sums come in the order in which the bins are given.

    Raises:
        InputError: bins of one key have different numbers of points.
    """
    parts: dict[str, list[tuple[np.ndarray, BinSums]]] = {}
    for stack, sums in zip(stacks, stacked, strict=True):
        for group in dict.fromkeys(b.group for b in stack.bins):
            rows = np.asarray([i for i, b in enumerate(stack.bins) if b.group == group])
            of_group = jax.tree.map(lambda a, rows=rows: a[rows], sums)
            parts.setdefault(group, []).append((np.asarray(stack.positions)[rows], of_group))
    return {group: _together(group, *zip(*found, strict=True)) for group, found in parts.items()}


def _together(group: str, positions: Sequence[np.ndarray], sums: Sequence[BinSums]) -> BinSums:
    if len(sums) == 1:
        return sums[0]
    points = [{name: np.shape(a)[1] for name, a in one.counts.items()} for one in sums]
    for other in points[1:]:
        if other != points[0]:
            raise InputError(
                f"bins.{group}: its bins have different numbers of points ({points[0]}, {other}), "
                "of which loss.custom cannot have one array: define the bins under several names"
            )
    order = np.argsort(np.concatenate(positions))
    return jax.tree.map(lambda *a: jnp.concatenate(a)[order], *sums)


def check_prior(loss: LossConfig, name: str) -> None:
    """Check that the loss can take a prior.

    Args:
        loss: the loss.
        name: name of a parameter that has a prior.

    Raises:
        InputError: squared residuals are not in units of their errors.
    """
    if loss.of_steps == "mse":
        raise InputError(
            f"parameters.{name}.prior: needs loss.kind=chisq or loss.kind=gls: the squares of mse "
            "are not in units of errors, so that a prior has no weight beside them"
        )


def check_terms(loss: LossConfig, bins: Mapping[str, BinsConfig], *, custom: bool) -> None:
    """Check that each weight belongs to a statistic of a bin, and that the loss has a term.

    Args:
        loss: weights of the terms.
        bins: names of bins or grids to their configs.
        custom: whether there is a ``loss.custom``.

    Raises:
        InputError: no term has a positive weight, a weight belongs to no statistic, or errors are
            asked for that the loss does not use.
    """
    if loss.errors == "model" and loss.of_steps != "chisq":
        raise InputError(
            f"loss.errors=model: loss.kind={loss.kind} divides by no errors: set loss.kind=chisq "
            "or loss.kind=gls"
        )
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
