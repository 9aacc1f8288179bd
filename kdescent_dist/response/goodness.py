"""Whether a fitted model describes the training catalog: chi-square with the full covariance.

Let r be the residuals at the fit, model minus training catalog, S their covariance, and J their
derivatives. The chi-square is the minimum of (r + J x)^T S^-1 (r + J x) over x: what remains at the
minimum of generalized least squares, wherever the fit has ended nearby. S is estimated from the n
rows of the training catalog, or from its n regions, so chi-square (n - k) / (k (n - 1)) has the F
distribution with k and n - k degrees of freedom (Hotelling 1931).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kdescent_dist.response.distance import Populations
from kdescent_dist.response.effective_number import effective_number
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.population_totals import mean_totals
from kdescent_dist.response.whitening import ROWS_OF_TEST, whitening

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
    noise = at.residuals(populations.sums)
    # Where the model has no samples, it predicts no variance for the rows that it lacks.
    weights = whitening(at, progress, noise, predicted=False, rows_of_number=ROWS_OF_TEST)
    factor = weights.factor
    residual = at.residuals([mean_totals(populations.sums)])[0] @ factor
    moved = at.slopes[at.determined] @ factor
    size = np.linalg.norm(moved, axis=1, keepdims=True)
    moved = moved[size[:, 0] > 0] / size[size[:, 0] > 0]  # parameters may be in any units
    found, _, rank, _ = np.linalg.lstsq(moved.T, residual, rcond=1e-6)
    left = residual - found @ moved
    degrees = factor.shape[1] - int(rank)
    if degrees < 1:
        return None
    chi_square = float(left @ left)
    return Goodness(chi_square, degrees, _p_value(chi_square, degrees, effective_number(at)))


def _p_value(chi_square: float, degrees: int, rows: float) -> float:
    from scipy.stats import chi2, f  # slow to import

    if not np.isfinite(rows):
        return float(chi2.sf(chi_square, degrees))
    rows = max(rows, degrees + 1.0)
    ratio = chi_square / degrees * (rows - degrees) / (rows - 1)
    return float(f.sf(ratio, degrees, rows - degrees))
