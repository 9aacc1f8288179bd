"""Directions in which residuals are independent and have unit errors.

Counts at the points of all bins and statistics share rows, so their noise is correlated. The
covariance of the residuals is estimated from the rows (``covariance.residual_covariance``), or
predicted by the model (``predicted_covariance``). The inverse of an estimate needs many more rows
than compared numbers, so some numbers of each bin represent all.
Directions in which the correlation matrix has small eigenvalues are left out: the counts of
overlapping kernels hardly differ there, and the estimate is mostly noise.

The noise of the inverse makes errors of generalized least squares too small, and the parameters
noisier; both are known for a normal distribution, see ``region_sums.noise_of_inverse``. With
regions, the covariance comes from as many independent numbers as there are regions, for all bins
together.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kdescent_dist.catalogs.regions import REGIONS, Regions
from kdescent_dist.config.errors import InputError
from kdescent_dist.response.covariance import residual_covariance
from kdescent_dist.response.distance import Populations
from kdescent_dist.response.effective_number import (
    effective_number,
    effective_rows,
    is_predictable,
)
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.loss_weights import FullWeights
from kdescent_dist.response.predicted_covariance import predicted_covariance

FEWEST_NUMBERS, MOST_NUMBERS = 1000, 3000  # most compared numbers of all bins, by parameters
NUMBERS_OF_PARAMETER, PLENTY_OF_PARAMETER = 3, 10
# Effective training rows of a bin, and of all bins, for each compared number: of least squares, and
# of least squares with many parameters or a test.
ROWS_OF_NUMBER, ROWS_OF_TEST = 20, 10
REGIONS_OF_NUMBER = 5  # effective regions, for each compared number of all bins
NEAR, NEAR_POPULATIONS = 4.0, 4
SMALL = 1e-3  # eigenvalues of the correlation matrix that are left out, relative to the largest


def whitening(
    at: Linearization,
    progress: Callable[[], None] = lambda: None,
    populations: int | None = None,
) -> FullWeights:
    """The inverse of the covariance of residuals, which the model predicts if it can.

    It can do so near the minimum: where the residuals are large, it may have no samples where the
    rows are.

    Args:
        at: the linearized loss. Processes that share its catalogs must call this together.
        progress: called often, equally often in every process.
        populations: see ``residual_covariance``.
    """
    numbers = compared_numbers(at)
    weights = whitening_of(at, numbers, progress, populations, predicted=False)
    if is_predictable(at) and _is_near(at, weights.factor, progress):
        return whitening_of(at, numbers, progress, populations, predicted=True)
    return weights


def whitening_of(
    at: Linearization,
    numbers: Sequence[np.ndarray],
    progress: Callable[[], None] = lambda: None,
    populations: int | None = None,
    noise: np.ndarray | None = None,
    *,
    predicted: bool,
) -> FullWeights:
    """The inverse of the covariance of residuals at some numbers.

    Its factor maps residuals (n, R) to independent ones (n, M) of unit errors.

    Args:
        at: the linearized loss. Processes that share its catalogs must call this together.
        numbers: the compared numbers, see ``compared_numbers``.
        progress: called often, equally often in every process.
        populations: see ``residual_covariance``.
        noise: (n, R) independent residuals of the same mean, whose mean is compared: the scatter
            of the mean is added to the covariance.
        predicted: whether the model predicts the covariance; otherwise, the rows make it.
    """
    nothing = FullWeights(np.zeros((at.slopes.shape[1], 0)), predicted)
    rows = np.concatenate([first + one for first, one in zip(at.firsts, numbers, strict=True)])
    if not len(rows):
        return nothing
    estimate = predicted_covariance if predicted else residual_covariance
    covariance = estimate(at, numbers, progress, populations)
    if noise is not None and len(noise) > 1:
        of_mean = np.cov(noise[:, rows], rowvar=False) / len(noise)
        covariance = covariance + of_mean.reshape(covariance.shape)
    if not np.isfinite(covariance).all():
        raise FloatingPointError("the covariance of the residuals is not finite")
    known = np.diagonal(covariance) > 0
    rows, covariance = rows[known], covariance[np.ix_(known, known)]
    if not len(rows):
        return nothing
    scale = np.sqrt(np.diagonal(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    kept = values > SMALL * values[-1]  # and above 0: products of two populations are noisy
    factor = np.zeros((at.slopes.shape[1], int(np.sum(kept))))
    factor[rows] = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    return FullWeights(factor, predicted)


def _is_near(at: Linearization, factor: np.ndarray, progress: Callable[[], None]) -> bool:
    """Whether chi-square is at most ``NEAR`` times as large as its mean at the truth."""
    here = Populations(at.whole, at.params, NEAR_POPULATIONS, progress)
    found = at.residuals(here.sums) @ factor
    number, directions = found.shape
    of_model = np.sum((found - np.mean(found, axis=0)) ** 2) / (number * max(number - 1, 1))
    square = np.sum(np.mean(found, axis=0) ** 2)
    return here.agreed(bool(square <= NEAR * (directions + of_model)))


def compared_numbers(at: Linearization, rows_of_number: int | None = None) -> list[np.ndarray]:
    """Indices of some numbers of each bin, evenly spread, whose covariance can be estimated.

    Args:
        at: the linearized loss. Processes that share its catalogs must call this together.
        rows_of_number: least effective rows for each number; by default ``ROWS_OF_NUMBER``, or
            less if that leaves too few numbers for the parameters.
    """
    of_parameters, number = NUMBERS_OF_PARAMETER * len(at.params), effective_number(at)
    if rows_of_number is None:
        enough = number / ROWS_OF_NUMBER >= PLENTY_OF_PARAMETER * len(at.params)
        rows_of_number = ROWS_OF_NUMBER if enough else ROWS_OF_TEST
    chosen = []
    share = max(min(max(of_parameters, FEWEST_NUMBERS), MOST_NUMBERS) // len(at.linear), 1)
    for one, counted in zip(at.linear, at.loss.compared, strict=True):
        pretrained = counted.pretrained
        known = np.flatnonzero((one.weights > 0) & (one.errors > 0))
        most = min(len(known), share)
        if pretrained.counts is not None:  # given counts are taken as independent
            most = min(most, int(effective_rows(pretrained) / rows_of_number))
        spread = np.linspace(0, len(known) - 1, most)
        chosen.append(known[np.rint(spread).astype(int)])
    if at.loss.rows.training.regions is not None:
        return _spread(chosen, int(number / REGIONS_OF_NUMBER))
    if all(counted.pretrained.counts is not None for counted in at.loss.compared):
        return _spread(chosen, int(number / rows_of_number))
    return chosen


def _spread(chosen: list[np.ndarray], most: int) -> list[np.ndarray]:
    """At most so many of the chosen numbers of all bins, evenly spread."""
    of_bin = np.repeat(np.arange(len(chosen)), [len(one) for one in chosen])
    kept = np.rint(np.linspace(0, len(of_bin) - 1, min(most, len(of_bin)))).astype(int)
    places = np.concatenate(chosen)[kept]
    return [places[of_bin[kept] == i] for i in range(len(chosen))]


def check_regions(regions: Regions | None, parameters: int, what: str = "loss.kind=gls") -> None:
    """Check that there are enough regions for the inverse of a covariance.

    Args:
        regions: regions of the training catalog, None if rows are independent.
        parameters: number of free parameters.
        what: what takes the inverse: ``loss.kind=gls``, or a posterior.

    Raises:
        InputError: the covariance would have fewer than three numbers for each parameter.
    """
    least = REGIONS_OF_NUMBER * NUMBERS_OF_PARAMETER * parameters
    if regions is not None and regions.effective < least:
        raise InputError(
            f"{REGIONS}: there are {regions.effective:.0f} effective regions (of equal weight), "
            f"and {what} needs {least} for {parameters} free parameters: use "
            "loss.kind=chisq with mode=fit, whose errors are a jackknife, too; or divide the "
            "survey into more regions"
        )
