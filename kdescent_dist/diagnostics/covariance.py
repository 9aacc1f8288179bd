"""Errors of fitted parameters from the noise of the catalogs: a sandwich covariance.

Let m and d be the compared numbers of the model and of the training catalog, J the derivatives of m
with respect to the parameters, and C the weights of the squared residuals in the loss. At the
minimum of the loss, the gradient J^T C (m - d) is 0. A row of the training catalog changes d, and
moves the parameters by the influence of the row: (J^T C J)^-1 J^T C times the change of d. A row of
the input catalog changes m, and its influence has the opposite sign. The covariance of the
parameters is the sum over all rows of the outer products of influences (Huber 1967; White 1982;
Hampel 1974). It needs no covariance of d, even if kernels overlap. Rows are taken as independent,
and their number as Poisson distributed; the number of samples of a generative model is fixed. Given
counts are taken as independent, with the given errors.

Derivatives are the same as in the fit: hard edges have no derivative.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.windows import in_window
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.diagnostics.custom_term import custom_pull, points_of_a_step
from kdescent_dist.diagnostics.influence import Sensitivity, influences
from kdescent_dist.diagnostics.linear_response import inverse_curvature, linear_sums
from kdescent_dist.diagnostics.points import EvaluationPoints, subsample
from kdescent_dist.diagnostics.population_influence import PopulationInfluences, pairs_of
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.numerics.exact_sums import exact_total

LARGEST_SET = 60  # most points per statistic and bin; fewer with many bins
SMALLEST_SET = 10
POINTS = 6000  # points of two statistics in all bins
PAIRS = 1 << 33  # most training rows x points
AT_ONCE = 1 << 24  # most training rows x parameters


def parameter_errors(
    problem: Problem,
    params: np.ndarray,
    *,
    free: np.ndarray | None = None,
    progress: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Covariance (P, P) of fitted parameters due to the noise of the catalogs.

    The noise comes from the training catalog, and from the input catalog of the model, if there is
    one; rows that are in both catalogs have the same noise. Random numbers of the model add noise
    if they are the same in every step; otherwise they average out.

    Args:
        problem: the fit. Processes that share its catalogs must call this together; all get the
            same result.
        params: (P,) fitted parameters.
        free: (P,) whether a parameter can move, because it is not fixed and no bound holds it; by
            default all parameters that are not fixed.
        progress: called often, equally often in every process.

    Returns:
        The covariance. A parameter that the loss does not determine, or that cannot move, has an
        infinite variance and covariances of 0.
    """
    params = np.asarray(params)
    objective, seed = problem.objective, problem.seed
    free = ~problem.parameters.fixed if free is None else free
    rng = np.random.default_rng(seed)
    most = int(np.clip(POINTS // (2 * len(problem.bins)), SMALLEST_SET, LARGEST_SET))
    sets = [EvaluationPoints.of(pretrained, rng, most) for pretrained in problem.bins]
    number = len(sets)
    if objective.custom is not None:
        sets += points_of_a_step(objective, problem.bins, seed)
    population = PopulationInfluences(objective, problem.columns, sets, params, seed, progress)
    found = population.sums()
    training_weight = objective.training_weight
    linear = [
        linear_sums(objective.config, counted, of_bin, found.weight, training_weight)
        for counted, of_bin in zip(sets[:number], found.bins[:number], strict=True)
    ]
    pull = None
    if objective.custom is not None:
        of_step = sets[number:], found.bins[number:]
        pull = custom_pull(objective, params, *of_step, found.weight, found.extra_sums)
        # J^T C (m - d) is the gradient of the mean over N squares, times N / 2.
        pull = pull.times(0.5 * max(sum(one.count for one in linear), 1.0))
    inverse, determined = inverse_curvature(linear, free, pull.curvature if pull else None)
    response = [inverse @ (one.slopes * one.weights) for one in linear]
    training = [one.training.sensitivity(r) for one, r in zip(linear, response, strict=True)]
    model = [one.model.sensitivity(r) for one, r in zip(linear, response, strict=True)]
    extra_sums = None
    if pull is not None:
        # Parameters move by -inverse times a change of the gradient. ``population.products`` takes
        # sensitivities to the model with the opposite sign.
        training += [one.of(-inverse) for one in pull.training]
        model += [one.of(inverse) for one in pull.model]
        extra_sums = inverse @ pull.extra_sums
    used, input_rows = problem.training.only(problem.columns), problem.input_rows
    covariance = _given_products(sets, training)
    training = [_of_rows(counted, one) for counted, one in zip(sets, training, strict=True)]
    if used.rows.total:
        covariance += _training_products(used, sets, training, seed, progress)
    if problem.fixed_key or objective.data["catalog"]:

        def picked(places: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
            return used.pick(input_rows[places] if isinstance(input_rows, np.ndarray) else places)

        covariance += population.products(
            model,
            fixed_key=problem.fixed_key,
            training=None if input_rows is None else picked,
            training_sensitivities=training,
            extra_sums=extra_sums,
        )
    covariance = _without_negative(covariance)
    covariance = np.where(np.outer(determined, determined), covariance, 0.0)
    return covariance + np.diag(np.where(determined, 0.0, np.inf))


def _given_products(
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
    seed: int,
    progress: Callable[[], None],
) -> np.ndarray:
    """Sum of outer products (P, P) of the influences of all training rows."""
    columns, weights, rows = training.columns, np.asarray(training.weights), training.rows
    points = sum(s.number for s in sets)
    size = sensitivities[0].weight.size
    most = max(pairs_of(PAIRS, size) // (max(points, 1) * rows.count), 1)
    at_once = max(AT_ONCE // size, 1)
    parts = []
    for turn in range(-(-rows.count // rows.processes.count)):
        progress()
        if turn >= len(rows.slices):
            continue
        block = rows.slices[turn]
        rng = np.random.default_rng((seed, rows.own[0] + turn))
        # In a large catalog, some rows of each block represent all rows.
        keep, scale = subsample(rng, len(weights[block]), most)
        of_block = np.zeros((size, size))
        for first in range(0, len(keep), at_once):
            some = keep[first : first + at_once]
            x = {name: jnp.asarray(values[block][some]) for name, values in columns.items()}
            w = jnp.asarray(weights[block][some])
            total = np.zeros((len(some), size))
            for counted, of_bin in zip(sets, sensitivities, strict=True):
                arrays = (*counted.columns_of(x), w, counted.window, counted.points, of_bin)
                total += np.asarray(_row_influences(*arrays, counted.pretrained.bin.hard), float)
            of_block += total.T @ total
        parts.append(scale * of_block)
    return exact_total(parts, (size, size), rows.count, rows.processes)


@partial(jax.jit, static_argnames="hard")
def _row_influences(x, conditions, weights, window, points, sensitivity, hard):
    inside = in_window(conditions, weights, window, hard)
    return influences(jnp.stack(x, axis=1), inside, weights, points, sensitivity)
