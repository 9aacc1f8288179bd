"""Posteriors of fresh catalogs: their width, other random numbers, and bounds."""

import numpy as np
import pytest
from scipy.stats import truncnorm

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.sampling.target import Target
from support.posteriors import BOUNDS, Case


def moves(case, key):
    """Moves (P,) from the truth to the maximum, in errors: a Newton step."""
    _, gradient = case.value_and_grad(case.truth, key)
    covariance = np.linalg.inv(case.likelihood.information)
    return covariance @ np.asarray(gradient, float) / np.sqrt(np.diagonal(covariance))


@pytest.mark.slow
@pytest.mark.nightly
def test_the_width_is_the_scatter_over_catalogs():
    """With the noise of two populations in both; each catalog has its own key.

    The error of the root mean square of n numbers is 1 / sqrt(2 n), if they are independent.
    """
    found = np.array([moves(Case.of(100 + seed), seed) for seed in range(60)])
    assert np.sqrt(np.mean(found**2)) == pytest.approx(1, abs=0.15)


@pytest.mark.nightly
def test_chains_have_the_expected_width_and_another_key_agrees():
    """Within the noise of populations and the Monte Carlo errors."""
    case = Case.of(7, populations=8)
    errors = np.sqrt(np.diagonal(np.linalg.inv(case.likelihood.information)))
    one, other = (case.draws(600, seed=seed) for seed in (1, 2))
    for draws in (one, other):
        assert np.std(draws, axis=0) / errors == pytest.approx(np.ones(5), abs=0.15)
    # A population has twice as many samples as the catalog has rows, thus half of its variance.
    expected = np.sqrt(2 * (0.5 / 8) / (1 + 0.5 / 8) + 2 * 4 / 600)
    apart = (np.mean(one, axis=0) - np.mean(other, axis=0)) / errors
    assert np.all(np.abs(apart) < 3.5 * expected)


@pytest.mark.nightly
def test_a_bound_at_the_maximum_truncates_the_posterior():
    """With the mean at most at the truth, as a normal distribution that is cut off there."""
    case = Case.of(7, populations=8, bounds={**BOUNDS, "mean_1": (None, 1.6)})
    error = np.sqrt(np.linalg.inv(case.likelihood.information)[0, 0])
    center = 1.6 + moves(case, 1)[0] * error
    draws = case.draws(1500, warmup=200, seed=1)[:, 0]
    assert np.max(draws) < 1.6
    cut = truncnorm(-np.inf, (1.6 - center) / error, center, error)
    assert np.mean(draws) == pytest.approx(cut.mean(), abs=0.35 * error)
    assert np.std(draws) == pytest.approx(cut.std(), rel=0.25)


class Flat:
    """A likelihood that tells nothing of the second parameter."""

    dtype = np.dtype(np.float32)
    information = np.diag([4.0, 0.0])

    def log_posterior(self, params, key, data):
        return -2.0 * (params[0] - 1.0) ** 2


def target(bounds, fitted=(1.0, 2.0)):
    parameters = Parameters.of_vector(np.array(fitted, np.float32), ["a", "b"], bounds)
    return Target.of(Flat(), parameters, np.array(fitted, np.float32))


def test_a_parameter_that_is_not_determined_needs_both_bounds():
    with pytest.raises(InputError, match="not determined by the data: b: a posterior needs both"):
        target([None, (0.0, None)])
    one = target([None, (0.0, 8.0)])
    assert np.allclose(one.params(np.zeros(2, np.float32)), [1.0, 2.0], rtol=1e-5)


@pytest.mark.parametrize("bounds", [[(0.9, 3.0), (0.0, 8.0)], [(None, 1.2), (0.0, 8.0)]])
def test_the_density_is_that_of_the_parameters_times_the_slopes_of_the_map(bounds):
    one, step = target(bounds), 1e-3
    for z in np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32):
        ends = [
            [np.asarray(one.params(z + s * np.float32(step) * unit), float) for s in (-1, 1)]
            for unit in np.eye(2, dtype=np.float32)
        ]
        volume = abs(np.linalg.det([(b - a) / (2 * step) for a, b in ends]))
        params = np.asarray(one.params(z), float)
        density = np.log(volume) - 2.0 * (params[0] - 1.0) ** 2
        constant = np.log(abs(np.linalg.det(one.factor.astype(float))))
        assert float(one.log_density(z, None, None)) + constant == pytest.approx(density, abs=0.02)
