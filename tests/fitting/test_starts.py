"""The guesses of many starts: within bounds, spread, and the same whatever their number."""

import numpy as np
import pytest

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.fitting.starts import guesses

NAMES = ["share", "above", "below", "mass", "held"]
PAIRS = [(0, 1), (0.001, None), (None, 0), None, None]


@pytest.fixture(scope="module")
def spread():
    guess = np.array([0.5, 1.0, -2.0, 3e6, 7.0], np.float32)
    parameters = Parameters.of_vector(guess, NAMES, PAIRS, fixed=["held"])
    return parameters, guesses(parameters, 64, 3)


def test_the_first_guess_is_that_of_the_parameters(spread):
    parameters, found = spread
    assert found.dtype == parameters.guess.dtype
    assert np.array_equal(found[0], parameters.guess)
    assert np.array_equal(found[:9], guesses(parameters, 9, 3))
    assert not np.array_equal(found[1:], guesses(parameters, 64, 4)[1:])


def test_guesses_are_within_bounds_and_fill_them(spread):
    parameters, found = spread
    assert np.all(found > parameters.low)
    assert np.all(found < parameters.high)
    # A sequence of low discrepancy has one or two points in each of 32 parts.
    counts = np.histogram(found[1:, 0], 32, (0, 1))[0]
    assert set(counts.tolist()) <= {1, 2}


def test_parameters_without_bounds_are_spread_about_their_guess_in_their_own_units(spread):
    _, found = spread
    mass = found[1:, NAMES.index("mass")]
    assert abs(np.mean(mass) / 3e6 - 1) < 0.1
    assert abs(np.std(mass) / 3e6 - 1) < 0.15
    assert np.ptp(found[:, NAMES.index("held")]) == 0
