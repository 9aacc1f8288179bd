"""The linear response of fitted parameters to changes of the sums."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.expected_errors import unit_variances
from kdescent_dist.config.schema import LossConfig
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.objective.residuals import residuals, weight_of
from kdescent_dist.response.compared import (
    BinComparison,
    as_vector,
    difference_errors,
)
from kdescent_dist.response.influence import SumDerivatives
from kdescent_dist.response.points import EvaluationPoints

# Least effective number of samples in a count, both of the training catalog and of the model. The
# effect of counts with fewer samples on the fit is not linear, and negligible.
FEWEST = 10


# Smaller values are taken as rounding errors: singular values of J relative to the largest, and the
# squared component of a parameter along the directions of negligible singular values.
SINGULAR = 1e-4
DEGENERATE = 1e-4


@dataclass(frozen=True)
class LinearSums:
    """The R compared numbers of a bin (see ``as_vector``), linearized in the parameters.

    Attributes:
        slopes: (P, R) derivatives of the numbers of the model.
        weights: (R,) expected weights of the squared residuals in the sum of squares of a step.
        errors: (R,) errors of the numbers of the training catalog, 0 if not known.
        count: expected number of squares of the bin in the mean of a step.
        model, training: maps from the sums to the R numbers.
        of_galaxies: (R,) factors of the influences of samples, with the square roots of their
            weights, that make them influences of galaxies; 0 for given numbers.
    """

    slopes: np.ndarray
    weights: np.ndarray
    errors: np.ndarray
    count: float
    model: BinComparison
    training: BinComparison
    of_galaxies: np.ndarray


def linear_sums(
    config: LossConfig,
    counted: EvaluationPoints,
    found: SumDerivatives,
    weight: tuple[np.ndarray, np.ndarray],
    training_weight: float,
) -> LinearSums:
    """Linearize the compared numbers of a bin.

    Args:
        config: the terms of the loss.
        counted: the bin, and the points at which it is compared.
        found: the sums of the model.
        weight: sum of all weights of the model, and its derivatives (P,).
        training_weight: sum of all weights of the training catalog.
    """
    kind = counted.pretrained.bin.config.normalization
    model = BinComparison(kind, found.sums, float(weight[0]), config.volume)
    training = BinComparison(kind, counted.truth, training_weight, config.volume)
    slopes = model.slopes(found.slopes, weight[1])
    weights, count = _loss_weights(config, counted, found, model, training)
    errors = as_vector(counted.normalized_errors(training_weight, config.volume))
    errors = np.where(np.isfinite(errors), errors, 0.0)
    galaxies = _of_galaxies(counted, found, model, training_weight)
    return LinearSums(slopes, weights, errors, count, model, training, galaxies)


def _of_galaxies(
    counted: EvaluationPoints, found: SumDerivatives, model: BinComparison, training_weight: float
) -> np.ndarray:
    """See ``LinearSums.of_galaxies``; the square of a factor is the ratio of two variances.

    The one is that of a number of the training catalog, see ``bins.expected_errors``, the other the
    sum over samples of weight times squared influence.
    """
    sums, squares = found.sums, found.expected
    units = unit_variances(counted.pretrained, training_weight)
    kind = counted.pretrained.bin.config.normalization
    in_bin, of_norm = float(sums.weight), float(squares.norm)
    in_window = in_bin / float(squares.weight) if squares.weight > 0 else 0.0
    norm = {"conditional": in_bin, "density": model.weight}.get(kind)
    times = in_window if norm is None else norm**2 / of_norm if of_norm > 0 else 0.0
    variances = [
        np.full(np.size(sums.counts[name]), times * units[name]) for name in ordered(sums.counts)
    ]
    return np.sqrt(np.concatenate([*variances, [in_window * units[""]]]))


def _loss_weights(
    config: LossConfig,
    counted: EvaluationPoints,
    found: SumDerivatives,
    model: BinComparison,
    training: BinComparison,
) -> tuple[np.ndarray, float]:
    """Expected weights (R,) of squared residuals in a step, and expected number of squares.

    The errors are constants, as in the gradient of a fit.
    """
    pretrained, bin_ = counted.pretrained, counted.pretrained.bin.config
    errors = of_training = None
    if config.of_steps == "chisq":
        of_training = counted.normalized_errors(training.weight, config.volume)
        if config.expects_errors:
            units = unit_variances(pretrained, training.weight)
            of_training = model.expected_errors(of_training, found.expected, units)
        of_model = model.errors(found.squares) if config.model_errors else None
        errors = difference_errors(of_training, of_model)
    both = model.values(), training.values()
    with jax.enable_x64(True):
        values, apart, error = jax.tree.map(lambda a: jnp.asarray(a)[None], (*both, errors))
        found_terms = residuals(config, values, apart, error, jnp.array([bin_.number_density]))
        terms = [
            (
                np.asarray(term.weights())[0],
                [np.asarray(counted)[0] for _, counted in term.squares()],
            )
            for term in found_terms
        ]
    *terms, (number, in_mean) = terms
    weights, count = [], 0.0 + (config.number_density > 0) * np.sum(in_mean)
    for (name, statistic), (of_term, in_mean) in zip(
        ordered(counted.indices).items(), terms, strict=True
    ):
        # The points here represent the points that a step draws.
        share = pretrained.statistics[name].drawn / max(len(counted.indices[name]), 1)
        count += share * (weight_of(config, name) > 0) * np.sum(in_mean)
        if statistic.positive:
            enough = _effective(found.sums.counts[name], found.squares.counts[name]) >= FEWEST
            if not pretrained.statistics[name].given:
                truth, error = counted.truth.counts[name], counted.errors.counts[name]
                if of_training is not None and config.expects_errors:
                    # Which counts are compared must not depend on the noise of the data.
                    truth, error = both[0].counts[name], of_training.counts[name]
                enough &= _effective(truth, error**2) >= FEWEST
            of_term = of_term * enough
        weights.append(share * of_term.reshape(-1))
    weights = bin_.weight * np.concatenate([*weights, number.reshape(-1)])
    return weights, float(count * (bin_.weight > 0))


def _effective(counts: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Effective number of samples in counts with squared errors ``squares``."""
    return np.where(squares > 0, counts / np.sqrt(np.where(squares > 0, squares, 1.0)), 0.0) ** 2


def inverse_curvature(curvature: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse (P, P) of second derivatives.

    Args:
        curvature: (P, P) second derivatives.
        free: (P,) whether the parameter can move.

    Returns:
        The inverse, 0 along directions on which the loss does not depend; and (P,) whether each
        parameter can move and is determined by the loss.
    """
    movable = free & (np.diagonal(curvature) != 0)
    scale, values, vectors = eigenvalues(np.where(np.outer(movable, movable), curvature, 0.0))
    lost = 1 - np.sum(vectors**2, axis=1)
    inverse = (vectors / values) @ vectors.T
    return inverse * np.outer(scale, scale), movable & (lost < DEGENERATE)


def eigenvalues(curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of second derivatives in units in which all diagonal elements are 1.

    Directions on which the loss does not depend are left out.

    Args:
        curvature: (P, P) second derivatives.

    Returns:
        The units (P,), the E eigenvalues, and the eigenvectors (P, E).
    """
    size = np.sqrt(np.abs(np.diagonal(curvature)))
    scale = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)
    values, vectors = np.linalg.eigh(curvature * np.outer(scale, scale))
    kept = values > SINGULAR**2 * max(values[-1], np.finfo(float).tiny)
    return scale, values[kept], vectors[:, kept]
