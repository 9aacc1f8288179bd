"""The reduced chi-square at the truth is 1, over many independent pairs of model and data."""

import numpy as np
import pytest

from support.chi_squares import chi_squares

# Normalization, dimensions, whether rows have weights, softness of the window.
CASES = [
    ("conditional", 1, False, 0.0),
    ("conditional", 2, True, 0.04),
    ("density", 3, True, 0.04),
    ("counts", 2, True, 0.04),
]
MORE = [
    (kind, dims, weighted, softness)
    for kind in ("conditional", "density", "counts")
    for dims in (1, 2, 3)
    for weighted, softness in ((False, 0.0), (True, 0.04), (True, 0.2))
    if (kind, dims, weighted, softness) not in CASES
]


@pytest.mark.parametrize(
    ("kind", "dims", "weighted", "softness"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.nightly) for case in MORE)],
)
def test_the_reduced_chi_square_at_the_truth_is_1(kind, dims, weighted, softness):
    for name, values in chi_squares(kind, dims, weighted, softness, 2400).items():
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - 1) < min(3 * error, 0.05), name
