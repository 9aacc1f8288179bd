"""The likelihood of a fit from Python, as the README shows it."""

import jax
import numpy as np
import optax
import pytest

import kdescent_dist as kd
from support import problems
from support.minima import CHISQ


def at_the_truth(objective):
    config = kd.FitConfig(steps=0, finish="none")
    return kd.fit(objective, problems.TRUTH, optax.adam(0.1), names=problems.NAMES, config=config)


def test_a_fit_has_a_likelihood_with_a_gradient(few_points):
    objective = problems.objective(few_points, loss=CHISQ)
    result, training = at_the_truth(objective), problems.training()
    likelihood = kd.likelihood(objective, result, training=training, seed=3, populations=2)
    function = jax.jit(jax.grad(likelihood.log_likelihood))
    gradient = function(result.answer, jax.random.key(1), likelihood.data)
    away = np.linalg.solve(likelihood.information, np.asarray(gradient, float))
    errors = np.sqrt(np.diagonal(np.linalg.inv(likelihood.information)))
    assert np.all(np.abs(away) < 4 * errors)  # the truth is near the maximum


def test_a_term_of_the_user_has_no_likelihood(few_points):
    objective = problems.objective(few_points, loss=CHISQ, custom=lambda m, d, params: 0.0)
    with pytest.raises(kd.InputError, match=r"loss\.custom"):
        kd.likelihood(objective, at_the_truth(objective), training=problems.training())


def test_counts_of_a_catalog_need_the_catalog(few_points):
    objective = problems.objective(few_points, loss=CHISQ)
    with pytest.raises(kd.InputError, match="training catalog"):
        kd.likelihood(objective, at_the_truth(objective), populations=1)
