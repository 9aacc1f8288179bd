"""Whether a fitted model describes the training catalog: chi-square with the full covariance.

Let r be the residuals at the fit, model minus training catalog, S their covariance, and J their
derivatives. The chi-square is the minimum of (r + J x)^T S^-1 (r + J x) over x: what remains at the
minimum of generalized least squares, wherever the fit has ended nearby. S is estimated from the n
rows of the training catalog, so chi-square (n - k) / (k (n - 1)) has the F distribution with k and
n - k degrees of freedom (Hotelling 1931). Directions in which S is small compared with its largest
values are left out: the counts of overlapping kernels hardly differ there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, f

from kdescent_dist.response.covariance import residual_covariance
from kdescent_dist.response.distance import Populations
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.population_totals import mean_totals

MOST_NUMBERS = 1000  # compared numbers of all bins
ROWS_OF_NUMBER = 10  # effective training rows of a bin, for each of its compared numbers
SMALL = 1e-3  # eigenvalues of the correlation matrix that are left out, relative to the largest
ACCEPTABLE = 1e-3  # smallest p-value of an acceptable fit


@dataclass(frozen=True)
class Goodness:
    """How well a model describes the training catalog.

    Attributes:
        chi_square: what remains at the minimum of generalized least squares.
        degrees: degrees of freedom: directions that are kept, less the determined parameters.
        p_value: probability of a larger chi-square, if the model is right.
    """

    chi_square: float
    degrees: int
    p_value: float

    @property
    def acceptable(self) -> bool:
        """Whether the model describes the data."""
        return self.p_value > ACCEPTABLE


def goodness_of_fit(
    at: Linearization,
    populations: Populations,
    progress: Callable[[], None] = lambda: None,
) -> Goodness | None:
    """Compare residuals at a fit with their covariance; None if no degree of freedom is left.

    Args:
        at: the loss, linearized at the fitted parameters. Processes that share its catalogs must
            call this together.
        populations: populations at the same parameters.
        progress: called often, equally often in every process.
    """
    chosen = _chosen(at)
    if not sum(map(len, chosen)):
        return None
    covariance = residual_covariance(at, chosen, progress)
    each = _joined(at.residuals(populations.sums), chosen)
    (apart,) = _joined(at.residuals([mean_totals(populations.sums)]), chosen)
    if len(each) > 1:  # the random numbers of the populations
        covariance += np.cov(each.T).reshape(covariance.shape) / len(each)
    slopes = np.concatenate(
        [one.slopes[:, rows] for one, rows in zip(at.linear, chosen, strict=True)], axis=1
    )
    scale = np.sqrt(np.diagonal(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    kept = values > SMALL * values[-1]
    whiten = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    residual, moved = apart @ whiten, slopes[at.determined] @ whiten
    found, _, rank, _ = np.linalg.lstsq(moved.T, residual, rcond=1e-6)
    left = residual - found @ moved
    degrees = int(np.sum(kept)) - int(rank)
    if degrees < 1:
        return None
    chi_square = float(left @ left)
    return Goodness(chi_square, degrees, _p_value(chi_square, degrees, _effective_rows(at)))


def _p_value(chi_square: float, degrees: int, rows: float) -> float:
    if not np.isfinite(rows):
        return float(chi2.sf(chi_square, degrees))
    rows = max(rows, degrees + 1.0)
    ratio = chi_square / degrees * (rows - degrees) / (rows - 1)
    return float(f.sf(ratio, degrees, rows - degrees))


def _effective_rows(at: Linearization) -> float:
    """Effective number of training rows (Kish 1965); infinite without a training catalog."""
    training = at.loss.rows.training
    rows, weights = training.rows, np.asarray(training.weights, float)
    if not rows.total:
        return np.inf
    squares = rows.sum(weights**2)
    return training.weight**2 / squares


def _chosen(at: Linearization) -> list[np.ndarray]:
    """Indices of some numbers of each bin, evenly spread, whose covariance can be estimated."""
    chosen = []
    share = MOST_NUMBERS // len(at.linear)
    for one, counted in zip(at.linear, at.loss.compared, strict=True):
        pretrained = counted.pretrained
        known = np.flatnonzero((one.weights > 0) & (one.errors > 0))
        effective = (pretrained.training_sum / pretrained.number_err) ** 2
        most = min(len(known), max(share, 1), int(effective / ROWS_OF_NUMBER))
        spread = np.linspace(0, len(known) - 1, most)
        chosen.append(known[np.rint(spread).astype(int)])
    return chosen


def _joined(residuals: Iterable[np.ndarray], chosen: Sequence[np.ndarray]) -> np.ndarray:
    """Residuals (n, Q) of n populations, of the chosen numbers of all bins."""
    parts = [one[:, rows] for one, rows in zip(residuals, chosen, strict=True)]
    return np.concatenate(parts, axis=1)
