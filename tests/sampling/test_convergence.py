"""R-hat and effective sample sizes, of chains whose correlation is known."""

import numpy as np
import pytest

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.sampling.convergence import bulk_size, mean_error, r_hat, tail_size
from kdescent_dist.sampling.summary import summary


def chains(correlation, seed=0, number=4, draws=4000):
    """Draws (chains, draws) of unit variance, each of which depends on the one before it."""
    noise = np.random.default_rng(seed).normal(size=(draws, number))
    found = [noise[0]]
    for one in noise[1:]:
        found.append(correlation * found[-1] + np.sqrt(1 - correlation**2) * one)
    return np.transpose(found)


@pytest.mark.parametrize("correlation", [-0.3, 0.0, 0.5, 0.9])
def test_the_effective_size_is_that_of_the_autocorrelation(correlation):
    draws = chains(correlation)
    expected = draws.size * (1 - correlation) / (1 + correlation)
    assert bulk_size(draws) == pytest.approx(expected, rel=0.15)
    assert r_hat(draws) < 1.01
    assert mean_error(draws) == pytest.approx(1 / np.sqrt(expected), rel=0.1)


def test_tails_of_independent_draws_are_all_effective():
    draws = chains(0.0)
    assert tail_size(draws) == pytest.approx(draws.size, rel=0.15)


@pytest.mark.parametrize("change", ["place", "width", "drift"])
def test_chains_that_differ_are_told(change):
    draws = chains(0.0)
    if change == "place":
        draws[0] += 1.0
    elif change == "width":
        draws[0] *= 3.0  # the means agree, and so only the folded ranks tell
    else:
        draws += np.linspace(0, 1, draws.shape[1])
    assert r_hat(draws) > 1.02


def test_heavy_tails_have_a_size():
    """The ranks of a Cauchy distribution have a variance, which the draws have not."""
    draws = np.tan(np.pi * (np.random.default_rng(1).uniform(size=(4, 1000)) - 0.5))
    assert bulk_size(draws) == pytest.approx(4000, rel=0.15)
    assert r_hat(draws) < 1.01


def test_equal_draws_have_no_size():
    assert np.isnan(r_hat(np.ones((2, 8))))
    assert np.isnan(bulk_size(np.ones((2, 8))))


def told_of(*each):
    shape = each[0].shape
    return {
        "params": np.stack(each, axis=-1),
        "diverging": np.zeros(shape, bool),
        "acceptance_rate": np.full(shape, 0.8),
    }


PARAMETERS = Parameters.of_vector([0.0, 1.0, 2.0], ["a", "b", "held"], fixed=["held"])


def test_a_summary_has_the_free_parameters_and_no_warning_of_good_chains():
    good = chains(0.0)
    found = summary(PARAMETERS, told_of(good, good + 5, np.full(good.shape, 2.0)))
    assert list(found["params"]) == ["a", "b"]
    assert found["params"]["b"]["mean"] == pytest.approx(5, abs=0.05)
    assert found["params"]["a"]["sd"] == pytest.approx(1, rel=0.05)
    assert found["params"]["a"]["high"] == pytest.approx(0.994, abs=0.05)
    assert found["warnings"] == []


def test_warnings_name_the_parameters():
    good, slow = chains(0.0, draws=100), chains(0.99, draws=100)
    told = told_of(good, slow, good)
    told["diverging"][0, :3] = True
    apart, few, diverged = summary(PARAMETERS, told)["warnings"]
    assert "the chains do not agree (R-hat above 1.01)" in apart
    assert "b 1." in apart
    assert "a 1." not in apart
    assert few.startswith("fewer than 100 effective draws: b ")
    assert diverged.startswith("3 of 400 trajectories have diverged")
