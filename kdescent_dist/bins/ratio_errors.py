"""Errors of normalized counts, which are ratios of two sums over the same samples.

A normalized count is ``c = S / N`` with the count ``S = sum_i s_i`` and its norm ``N = sum_i n_i``.
The samples are independent, and their number is Poisson distributed. To first order, the variance
of c is ``sum_i (s_i - c n_i)^2 / N^2`` (the linearized ratio of two sums, Cochran 1977, chapter 6).
Expanded, it needs the sums of ``s_i^2``, ``s_i n_i`` and ``n_i^2``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Relative to its terms, a smaller variance is rounding error of sums in single precision.
ROUNDING = 2.0**-17

# Factors of the weight in the bin, and of the weight without the window, in the contribution of a
# sample to the norm.
_NORMS = {"conditional": (1.0, 0.0), "density": (0.0, 1.0), "counts": (0.0, 0.0)}


def norm_factors(kinds: Sequence[str]) -> np.ndarray:
    """Factors (m, 2) in the contribution of a sample to the norm of each of m bins.

    The contribution is the first factor times the weight of the sample in the bin, plus the second
    factor times the weight without the window.

    Args:
        kinds: normalization of each bin: ``conditional``, ``density`` or ``counts``.
    """
    return np.array([_NORMS[kind] for kind in kinds], np.float32)


def ratio_variances(ratio: Any, squares: Any, cross: Any, norm: Any) -> tuple[Any, Any]:
    """Sums of ``(s_i - c n_i)^2``, and the largest values that are only rounding errors.

    Args:
        ratio: c.
        squares: sums of ``s_i^2``.
        cross: sums of ``s_i n_i``.
        norm: sums of ``n_i^2``.
    """
    of_norm = ratio * ratio * norm
    return squares - 2 * ratio * cross + of_norm, ROUNDING * (squares + of_norm)
