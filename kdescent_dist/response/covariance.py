"""Errors of fitted parameters from the noise of the catalogs: a sandwich covariance.

Let m and d be the compared numbers of the model and of the training catalog, J the derivatives of m
with respect to the parameters, and C the weights of the squared residuals in the loss. At the
minimum of the loss, the gradient J^T C (m - d) is 0. A row of the training catalog changes d, and
moves the parameters by the influence of the row: (J^T C J)^-1 J^T C times the change of d. A row of
the input catalog changes m, and its influence has the opposite sign. The covariance of the
parameters is the sum over all rows of the outer products of influences (Huber 1967; White 1982;
Hampel 1974). It needs no covariance of d, even if kernels overlap. Rows are taken as independent,
and their number as Poisson distributed; the number of samples of a generative model is fixed. With
``catalog.regions``, regions of the training catalog are independent in place of rows, and the sum
is a jackknife (Norberg et al. 2009). Given counts are taken as independent, with the given errors.
A prior counts as a measurement of its parameter that is independent of the data. With its curvature
K (the inverse squared width of a normal prior) and the covariance S of m - d, the covariance of the
parameters is (J^T C J + K)^-1 (J^T C S C J + K) (J^T C J + K)^-1.

Derivatives are the same as in the fit: hard edges have no derivative.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.numerics.exact_sums import exact_total
from kdescent_dist.numerics.prng import seed_number
from kdescent_dist.response.effective_number import number_of_covariance
from kdescent_dist.response.influence import Sensitivity, dependent, influences
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.loss_weights import FullWeights
from kdescent_dist.response.points import EvaluationPoints, subsample
from kdescent_dist.response.population_blocks import pairs_of
from kdescent_dist.response.population_influence import PopulationInfluences
from kdescent_dist.response.population_keys import population_keys
from kdescent_dist.response.region_influences import PopulationRegions, training_regions
from kdescent_dist.response.region_sums import jackknife, noise_of_inverse

PAIRS = 1 << 33  # most training rows x points
AT_ONCE = 1 << 24  # most training rows x parameters


def parameter_covariance(
    at: Linearization, progress: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Covariance (P, P) of fitted parameters due to the noise of the catalogs.

    The noise comes from the training catalog, and from the input catalog of the model, if there is
    one; rows that are in both catalogs have the same noise. Random numbers of the model add noise
    if they are the same in every step; otherwise they average out. Priors add their own widths.

    Args:
        at: the loss, linearized at the fitted parameters. Processes that share its catalogs must
            call this together; all get the same result.
        progress: called often, equally often in every process.

    Returns:
        The covariance. A parameter that the loss does not determine, or that cannot move, has an
        infinite variance and covariances of 0.
    """
    linear, pull, inverse, determined = at.linear, at.pull, at.inverse, at.determined
    response = at.split(at.response())
    training = [one.training.sensitivity(r) for one, r in zip(linear, response, strict=True)]
    model = [one.model.sensitivity(r) for one, r in zip(linear, response, strict=True)]
    extra_sums = None
    if pull is not None:
        # Parameters move by -inverse times a change of the gradient. ``products`` of a population
        # takes sensitivities to the model with the opposite sign.
        training += [one.of(-inverse) for one in pull.training]
        model += [one.of(inverse) for one in pull.model]
        extra_sums = inverse @ pull.extra_sums
    covariance = _without_negative(_products(at, training, model, extra_sums, progress))
    if isinstance(at.weights, FullWeights) and not at.weights.predicted:
        covariance *= noise_of_weights(at, at.weights)
    covariance = covariance + inverse @ np.diag(at.of_prior) @ inverse
    larger = np.sqrt(at.without_noise)
    covariance = covariance * np.outer(larger, larger)
    covariance = np.where(np.outer(determined, determined), covariance, 0.0)
    return covariance + np.diag(np.where(determined, 0.0, np.inf))


def noise_of_weights(at: Linearization, weights: FullWeights) -> float:
    """The result of ``noise_of_inverse`` for S from rows or regions of the catalog, or samples.

    Args:
        at: the linearized loss.
        weights: S^-1.
    """
    of_bins = np.split(weights.used, at.firsts[1:])
    # The errors of given counts are known.
    estimated = [
        int(np.sum(of_bin))
        for of_bin, counted in zip(of_bins, at.loss.compared, strict=True)
        if counted.pretrained.counts is not None
    ]
    numbers = min(weights.factor.shape[1], sum(estimated))
    number = number_of_covariance(at, weights)
    return noise_of_inverse(number, numbers, int(np.sum(at.determined)))


def residual_covariance(
    at: Linearization,
    chosen: Sequence[np.ndarray],
    progress: Callable[[], None] = lambda: None,
    populations: int | None = None,
) -> np.ndarray:
    """Covariance (Q, Q) of residuals, model minus training catalog, due to the same noise.

    Args:
        at: as in ``parameter_covariance``.
        chosen: for each bin, indices of some of its compared numbers, Q in all.
        progress: called often, equally often in every process.
        populations: number of populations of which the model is the mean, if their random numbers
            are constants, whose noise is then included; None as in ``parameter_covariance``.
    """
    training, model = (selected(at, chosen, which) for which in ("training", "model"))
    return _products(at, training, model, None, progress, populations)


def selected(
    at: Linearization,
    chosen: Sequence[np.ndarray],
    which: Literal["training", "model"],
    factors: Sequence[np.ndarray] | None = None,
) -> list[Sensitivity]:
    """Sensitivities of Q compared numbers to the sums of each bin, and to those of ``loss.custom``.

    Args:
        at: the linearized loss.
        chosen: for each bin, indices of some of its compared numbers, Q in all.
        which: the sums: those of the training catalog, or of the model.
        factors: for each bin, factors (R,) of the numbers, by default 1.
    """
    size, first, found = sum(map(len, chosen)), 0, []
    for i, (one, indices) in enumerate(zip(at.linear, chosen, strict=True)):
        linear = np.zeros((size, len(one.errors)))
        place = first + np.arange(len(indices))
        linear[place, indices] = 1.0 if factors is None else factors[i][indices]
        first += len(indices)
        found.append(getattr(one, which).sensitivity(linear))
    if at.pull is not None:
        nothing = np.zeros((size, len(at.params)))
        found += [one.of(nothing) for one in getattr(at.pull, which)]
    return found


def _products(
    at: Linearization,
    training: Sequence[Sensitivity],
    model: Sequence[Sensitivity],
    extra_sums: np.ndarray | None,
    progress: Callable[[], None],
    populations: int | None = None,
) -> np.ndarray:
    """Covariance (Q, Q) of linear functions of the sums of training catalog and model.

    Args:
        at: the linearized loss.
        training, model: for each bin, sensitivities of the functions; those to the model with the
            opposite sign.
        extra_sums: (Q, S) derivatives with respect to the S sums of ``loss.extra_sums``.
        progress: called often, equally often in every process.
        populations: see ``residual_covariance``.
    """
    loss, size = at.loss, training[0].weight.size
    sets = loss.sets
    covariance = given_products(sets, training)
    training = [_of_rows(counted, one) for counted, one in zip(sets, training, strict=True)]
    rows = loss.rows
    if rows.training.regions is not None:
        moved = training_regions(rows.training, sets, training, progress)
        if rows.input_rows is not None:
            return covariance + _of_shared(at, moved, model, extra_sums, progress, populations)
        covariance += jackknife(moved, moved)
    elif rows.training.rows.total:
        covariance += _training_products(rows.training, sets, training, loss.seed, progress)

    def of_populations(number: int) -> np.ndarray:
        keys = population_keys(loss.seed, number, fixed_key=loss.fixed_key)
        return PopulationInfluences(loss, at.params, size, keys, progress).products(
            model,
            training=None if rows.input_rows is None else rows.pick,
            training_sensitivities=training,
            extra_sums=extra_sums,
        )

    has_rows = bool(loss.objective.data["catalog"])
    if populations is not None:
        # One population has the noise of its rows and of its random numbers. Two populations have
        # the noise of the rows in common, and the mean of many has no other noise.
        of_rows = of_populations(2) if has_rows and populations > 1 else 0.0
        covariance += of_rows + (of_populations(1) - of_rows) / populations
    elif loss.fixed_key or has_rows:
        covariance += of_populations(1 if loss.fixed_key else 2)
    return covariance


def _of_shared(
    at: Linearization,
    moved: np.ndarray,
    model: Sequence[Sensitivity],
    extra_sums: np.ndarray | None,
    progress: Callable[[], None],
    populations: int | None,
) -> np.ndarray:
    """The jackknife (Q, Q) of regions that move both, the training catalog and the model.

    Args:
        moved: (K, Q) influences of the regions through the training catalog.
        at, model, extra_sums, progress, populations: as for ``_products``.
    """
    loss = at.loss
    number = 1 if loss.fixed_key and populations is None else 2
    keys = population_keys(loss.seed, number, fixed_key=loss.fixed_key)
    population = PopulationRegions(loss, at.params, progress)
    both = [moved - population.influences(key, model, extra_sums) for key in keys]
    covariance = jackknife(both[0], both[-1])
    if populations is not None:
        # Two populations differ by their random numbers alone, with twice the variance of one.
        apart = both[0] - both[1]
        covariance += 0.5 * jackknife(apart, apart) / populations
    return covariance


def given_products(
    sets: Sequence[EvaluationPoints], sensitivities: Sequence[Sensitivity]
) -> np.ndarray:
    """Sum of outer products (P, P) of the influences of given counts, from their errors.

    The counts are taken as independent of each other, and of the weight in the bin.
    """
    # With ``loss.custom``, a bin has several sets, and the influences of its sets add up.
    moved_by: dict[tuple[str, str], np.ndarray] = {}

    def add(bin_: str, name: str, moved: np.ndarray) -> None:
        moved_by[bin_, name] = moved_by.get((bin_, name), 0.0) + moved.reshape(len(moved), -1)

    for counted, of_bin in zip(sets, sensitivities, strict=True):
        pretrained, errors = counted.pretrained, counted.errors
        for name, counts in pretrained.statistics.items():
            if counts.given:
                add(pretrained.bin.name, name, of_bin.sums.counts[name] * errors.counts[name])
        if pretrained.counts is None:
            add(pretrained.bin.name, "", of_bin.sums.weight * pretrained.number_err)
    size = sensitivities[0].weight.size
    return sum((moved @ moved.T for moved in moved_by.values()), np.zeros((size, size)))


def _of_rows(counted: EvaluationPoints, sensitivity: Sensitivity) -> Sensitivity:
    """The sensitivity to rows of the training catalog, on which given counts do not depend."""
    counts = {
        name: 0.0 * values if counted.pretrained.statistics[name].given else values
        for name, values in sensitivity.sums.counts.items()
    }
    return replace(sensitivity, sums=replace(sensitivity.sums, counts=counts))


def _without_negative(covariance: np.ndarray) -> np.ndarray:
    """The matrix without directions of negative variance, which are noise of the products."""
    scale = np.sqrt(np.abs(np.diagonal(covariance)))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return positive * np.outer(scale, scale)


def _training_products(
    training: TrainingCatalog,
    sets: Sequence[EvaluationPoints],
    sensitivities: Sequence[Sensitivity],
    seed: int | jax.Array,
    progress: Callable[[], None],
) -> np.ndarray:
    """Sum of outer products (P, P) of the influences of all training rows."""
    columns, weights, rows = training.columns, np.asarray(training.weights), training.rows
    points = sum(s.number for s in sets)
    size = sensitivities[0].weight.size
    most = max(pairs_of(PAIRS, size) // (max(points, 1) * rows.count), 1)
    at_once = max(AT_ONCE // size, 1)
    of_bins, parts = dependent(sensitivities), []
    for turn in range(-(-rows.count // rows.processes.count)):
        progress()
        if turn >= len(rows.slices):
            continue
        block = rows.slices[turn]
        rng = np.random.default_rng((seed_number(seed), rows.own[0] + turn))
        # In a large catalog, some rows of each block represent all rows.
        keep, scale = subsample(rng, len(weights[block]), most)
        of_block = np.zeros((size, size))
        for first in range(0, len(keep), at_once):
            some = keep[first : first + at_once]
            x = {name: jnp.asarray(values[block][some]) for name, values in columns.items()}
            w = jnp.asarray(weights[block][some])
            total = np.zeros((len(some), size))
            for counted, (begin, of_bin) in zip(sets, of_bins, strict=True):
                arrays = (*counted.columns_of(x), w, counted.window, counted.points, of_bin)
                moved = np.asarray(_row_influences(*arrays, counted.pretrained.bin.hard), float)
                total[:, begin : begin + moved.shape[1]] += moved
            of_block += total.T @ total
        parts.append(scale * of_block)
    return exact_total(parts, (size, size), rows.count, rows.processes)


@partial(jax.jit, static_argnames="hard")
def _row_influences(x, conditions, weights, window, points, sensitivity, hard):
    return influences(x, conditions, weights, (window, hard), points, sensitivity)
