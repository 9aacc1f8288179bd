"""The number of independent rows or regions of the training catalog."""

from collections.abc import Iterable

import numpy as np

from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.loss_weights import FullWeights

EQUAL = 1e-6  # variance over squared mean of weights that are equal
# The covariance of Q residuals is predicted from so many samples for each of them.
SAMPLES_OF_NUMBER = 100
FEWEST, MOST = 2, 8  # populations


def effective_number(at: Linearization) -> float:
    """The effective number of regions of the training catalog, or of rows without regions.

    Of rows of different weights, it is (sum of weights)^2 / sum of squared weights (Kish 1965).
    Only rows in bins count. Bins of one grid have different rows; other grids have the same again.

    Args:
        at: the linearized loss. Processes that share its catalogs must call this together.

    Returns:
        The number, infinite without a training catalog.
    """
    training = at.loss.rows.training
    if training.regions is not None:
        return training.regions.effective
    if not training.rows.total:
        return np.inf
    bins = [one.pretrained for one in at.loss.compared if one.pretrained.counts is not None]
    of_all = _of_all_rows(training)
    return min(of_all, _of_largest_grid(((one, effective_rows(one)) for one in bins), of_all))


def effective_rows(pretrained: PretrainedBin) -> float:
    """The effective number of rows of the training catalog in a bin, from its counts."""
    error = pretrained.number_err
    return float((pretrained.training_sum / error) ** 2) if error > 0 else 0.0


def is_predictable(at: Linearization) -> bool:
    """Whether the model can predict the covariance of the residuals, see ``predicted_covariance``.

    It can do so if rows are independent, and weigh the same: weights may depend on the columns.
    """
    training = at.loss.rows.training
    if training.regions is not None or not training.rows.total:
        return False
    return _of_all_rows(training) > (1 - EQUAL) * training.rows.total


def populations_of(at: Linearization, numbers: int) -> int:
    """The even number of populations from which the covariance of residuals is predicted.

    Args:
        at: the linearized loss.
        numbers: number Q of the residuals.
    """
    wanted = SAMPLES_OF_NUMBER * numbers / max(_of_population(at), 1.0)
    return int(np.clip(2 * np.ceil(wanted / 2), FEWEST, MOST))


def number_of_covariance(at: Linearization, weights: FullWeights) -> float:
    """The effective number of rows, regions or samples that make the covariance of residuals.

    Args:
        at: the linearized loss.
        weights: the inverse of the covariance.
    """
    if not weights.predicted:
        return effective_number(at)
    return number_of_samples(at, int(np.sum(weights.used)))


def number_of_samples(at: Linearization, numbers: int) -> float:
    """The effective number of samples from which the covariance of residuals is predicted.

    Args:
        at: the linearized loss.
        numbers: number Q of the residuals.
    """
    return populations_of(at, numbers) * _of_population(at)


def _of_population(at: Linearization) -> float:
    """The effective number of samples of a population in the bins, see ``effective_number``."""
    found = at.found.bins[: len(at.loss.compared)]
    squares = [float(one.squares.weight) for one in found]
    effective = [
        float(one.sums.weight) ** 2 / square if square > 0 else 0.0
        for one, square in zip(found, squares, strict=True)
    ]
    bins = [one.pretrained for one in at.loss.compared]
    return _of_largest_grid(zip(bins, effective, strict=True), 0.0)


def _of_largest_grid(effective: Iterable[tuple[PretrainedBin, float]], otherwise: float) -> float:
    """The largest sum over the bins of a grid, of numbers above 0; ``otherwise`` without any."""
    of_grids: dict[str, float] = {}
    for one, number in effective:
        if number > 0:
            of_grids[one.bin.group] = of_grids.get(one.bin.group, 0.0) + number
    return max(of_grids.values(), default=otherwise)


def _of_all_rows(training: TrainingCatalog) -> float:
    squares = training.rows.sum(np.asarray(training.weights, float) ** 2)
    return float(training.weight**2 / squares) if squares > 0 else 0.0
