"""The distance of parameters from the minimum of the loss at fixed points."""

import numpy as np
import pytest

from kdescent_dist.response.covariance import parameter_covariance
from kdescent_dist.response.distance import (
    distance_to_minimum,
    is_converged,
)
from support import problems

GRID = {"grid": problems.GRIDS["grid"]}
SIZE = 4003


@pytest.fixture(scope="module")
def bins():
    return problems.pretrained(GRID)


def distance(bins, params, seed=3, devices=1, **options):
    problem = problems.problem(
        problems.objective(bins, devices, size=SIZE, **options.pop("objective", {})),
        bins,
        seed=seed,
        **options,
    )
    at = problem.linearizer.at(params)
    errors = np.sqrt(np.diagonal(parameter_covariance(at)))
    return distance_to_minimum(at, errors), errors


@pytest.fixture(scope="module")
def minimum(bins):
    """Parameters at the minimum, and their errors: moved three times by the displacement."""
    params = problems.TRUTH.astype(float)
    for _ in range(3):
        found, errors = distance(bins, params)
        params = params + found.displacement
    return params, errors


@pytest.mark.slow
def test_a_move_by_the_displacement_ends_at_the_minimum(bins, minimum):
    params, errors = minimum
    found, _ = distance(bins, params)
    away, noise = found.in_errors(errors)
    assert np.all(np.abs(away) < 0.01)  # the random numbers are those of the moves
    assert np.all(noise < 0.3)
    assert np.all(is_converged(away, noise))
    # The training catalog is drawn from the truth.
    assert np.all(np.abs(params - problems.TRUTH) < 4 * errors)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_displacement_is_the_way_back_to_the_minimum(bins, minimum, sign):
    """From two errors away, in all parameters, with other random numbers, too."""
    params, errors = minimum
    found, _ = distance(bins, params + 2 * sign * errors * [1, -1, 1, -1])
    away, noise = found.in_errors(errors)
    np.testing.assert_allclose(away, -2 * sign * np.array([1, -1, 1, -1]), atol=0.5)
    assert not is_converged(away, noise).any()
