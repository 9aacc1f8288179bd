"""The number of independent rows or regions of the training catalog."""

import numpy as np

from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.response.linearization import Linearization

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
    of_groups: dict[str, float] = {}
    for counted in at.loss.compared:
        one = counted.pretrained
        if one.counts is not None and one.number_err > 0:
            group, effective = one.bin.group, float((one.training_sum / one.number_err) ** 2)
            of_groups[group] = of_groups.get(group, 0.0) + effective
    of_all = _of_all_rows(training)
    return float(min(of_all, max(of_groups.values(), default=of_all)))


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


def number_of_samples(at: Linearization, numbers: int) -> float:
    """The effective number of samples from which the covariance of residuals is predicted.

    Args:
        at: the linearized loss.
        numbers: number Q of the residuals.
    """
    return populations_of(at, numbers) * _of_population(at)


def _of_population(at: Linearization) -> float:
    """The effective number of samples of a population in the bins, see ``effective_number``."""
    of_groups: dict[str, float] = {}
    for counted, found in zip(at.loss.compared, at.found.bins, strict=False):
        group, squares = counted.pretrained.bin.group, float(found.squares.weight)
        if squares > 0:
            effective = float(found.sums.weight) ** 2 / squares
            of_groups[group] = of_groups.get(group, 0.0) + effective
    return max(of_groups.values(), default=0.0)


def _of_all_rows(training: TrainingCatalog) -> float:
    squares = training.rows.sum(np.asarray(training.weights, float) ** 2)
    return float(training.weight**2 / squares) if squares > 0 else 0.0
