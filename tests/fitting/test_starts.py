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


def test_guesses_are_drawn_from_a_prior_whose_quantiles_are_known():
    """Within its bounds; about one of another library, as without a prior."""
    priors = {
        "a": {"normal": [10.0, 2.0]},
        "b": {"lognormal": [1.0, 0.5]},
        "c": {"truncated": [0.0, 1.0, -0.5, 2.0]},
        "d": {"uniform": [3.0, 4.0]},
        "e": {"normal": [0.0, 1.0]},
    }
    guess = np.array([1.0, 1.0, 0.1, 3.5, 0.5], np.float32)
    pairs = [None, None, None, None, (0, None)]
    parameters = Parameters.of_vector(guess, list(priors), pairs, priors=priors)
    found = guesses(parameters, 256, 3)[1:].astype(float)
    assert np.all((found > parameters.low) & (found < parameters.high))
    a, b, c, d, e = found.T
    assert (abs(a.mean() - 10) < 0.1, abs(a.std() - 2) < 0.1) == (True, True)
    assert (abs(np.log(b).mean() - 1) < 0.03, abs(np.log(b).std() - 0.5) < 0.03) == (True, True)
    assert c.min() < -0.45
    assert np.allclose(np.quantile(d, [0.25, 0.75]), [3.25, 3.75], atol=0.02)
    assert abs(np.median(e) - 0.6745) < 0.03


def test_parameters_without_bounds_are_spread_about_their_guess_in_their_own_units(spread):
    _, found = spread
    mass = found[1:, NAMES.index("mass")]
    assert abs(np.mean(mass) / 3e6 - 1) < 0.1
    assert abs(np.std(mass) / 3e6 - 1) < 0.15
    assert np.ptp(found[:, NAMES.index("held")]) == 0
