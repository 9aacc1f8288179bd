"""Whether a fitted model describes the training catalog: chi-square with the full covariance.

Let r be the residuals at the fit, model minus training catalog, S their covariance, and J their
derivatives. The chi-square is the minimum of (r + J x)^T S^-1 (r + J x) over x: what remains at the
minimum of generalized least squares, wherever the fit has ended nearby. S is that of ``whitening``,
from n samples of the model, or from n rows or n regions of the training catalog. So
chi-square (n - k) / (k (n - 1)) has the F distribution with k and n - k degrees of freedom
(Hotelling 1931).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kdescent_dist.response.distance import Populations
from kdescent_dist.response.effective_number import is_predictable, number_of_covariance
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.loss_weights import FullWeights
from kdescent_dist.response.population_totals import mean_totals
from kdescent_dist.response.whitening import (
    NEAR,
    ROWS_OF_TEST,
    compared_numbers,
    whitening_of,
)

ACCEPTABLE = 1e-3  # smallest p-value of an acceptable fit
CLEAR = 1e-6  # p-value by the rows that is not acceptable by the model, either


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
    numbers = compared_numbers(at, ROWS_OF_TEST)
    noise = at.residuals(populations.sums)
    residual = at.residuals([mean_totals(populations.sums)])[0]

    def goodness(*, predicted: bool) -> Goodness | None:
        weights = whitening_of(at, numbers, progress, noise=noise, predicted=predicted)
        return _goodness(at, weights, residual)

    by_rows = goodness(predicted=False)
    if by_rows is None or not is_predictable(at):
        return by_rows
    # Far from the data, a model may have no samples where the rows are, and predict no variance.
    near = by_rows.p_value > CLEAR and by_rows.chi_square <= NEAR * by_rows.degrees
    if not populations.agreed(near):
        return by_rows
    return goodness(predicted=True) or by_rows


def _goodness(at: Linearization, weights: FullWeights, residual: np.ndarray) -> Goodness | None:
    """The test of residuals (R,); None if no degree of freedom is left."""
    factor = weights.factor
    compared = residual @ factor
    moved = at.slopes[at.determined] @ factor
    size = np.linalg.norm(moved, axis=1, keepdims=True)
    moved = moved[size[:, 0] > 0] / size[size[:, 0] > 0]  # parameters may be in any units
    found, _, rank, _ = np.linalg.lstsq(moved.T, compared, rcond=1e-6)
    left = compared - found @ moved
    degrees = factor.shape[1] - int(rank)
    if degrees < 1:
        return None
    chi_square = float(left @ left)
    number = number_of_covariance(at, weights)
    return Goodness(chi_square, degrees, _p_value(chi_square, degrees, number))


def _p_value(chi_square: float, degrees: int, rows: float) -> float:
    from scipy.stats import chi2, f  # slow to import

    if not np.isfinite(rows):
        return float(chi2.sf(chi_square, degrees))
    rows = max(rows, degrees + 1.0)
    ratio = chi_square / degrees * (rows - degrees) / (rows - 1)
    return float(f.sf(ratio, degrees, rows - degrees))
