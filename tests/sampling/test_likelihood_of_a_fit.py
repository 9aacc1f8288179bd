"""The likelihood of a fit from Python, as the README shows it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kdescent_dist as kd
from kdescent_dist.config.parameters import Parameters
from support import problems
from support.minima import CHISQ


@pytest.fixture(scope="module")
def fitted(few_points):
    """An objective with a wide prior, and its fit, which is the truth."""
    tree = dict(zip(problems.NAMES, problems.TRUTH, strict=True))
    parameters = Parameters.of_tree(tree, priors={"slope": {"normal": [0.0, 0.5]}})
    objective = problems.objective(few_points, names=parameters, loss=CHISQ)
    config = kd.FitConfig(steps=0, finish="none")
    return objective, kd.fit(objective, parameters, optax.adam(0.1), config=config)


def test_a_fit_has_a_posterior_with_a_gradient(fitted):
    objective, result = fitted
    training = problems.training()
    given = kd.likelihood(objective, result, training=training, seed=3, populations=1)
    function, key = jax.jit(jax.value_and_grad(given.log_posterior)), jax.random.key(1)
    value, gradient = function(result.answer, key, given.data)
    away = np.linalg.solve(given.information, np.asarray(gradient, float))
    errors = np.sqrt(np.diagonal(np.linalg.inv(given.information)))
    assert np.all(np.abs(away) < 4 * errors)  # the truth is near the maximum
    prior = float(objective.log_prior(jnp.asarray(result.answer)))
    assert prior == pytest.approx(-0.5 * (0.6 / 0.5) ** 2, rel=1e-3)
    chi_square = float(jnp.sum(given.residuals(result.answer, key, given.data) ** 2))
    assert float(value) == pytest.approx(-0.5 * chi_square + prior, abs=1e-3)


def test_a_term_of_the_user_has_no_likelihood(few_points, fitted):
    objective = problems.objective(few_points, loss=CHISQ, custom=lambda m, d, params: 0.0)
    with pytest.raises(kd.InputError, match=r"loss\.custom"):
        kd.likelihood(objective, fitted[1], training=problems.training())


def test_counts_of_a_catalog_need_the_catalog(fitted):
    with pytest.raises(kd.InputError, match="training catalog"):
        kd.likelihood(*fitted, populations=1)


def test_rows_in_regions_need_enough_regions(fitted):
    columns, weights = problems.training()
    few, many = (np.arange(len(weights)) % number for number in (20, 70))
    with pytest.raises(
        kd.InputError, match=r"20 effective regions .*a posterior needs 60 for 4 free"
    ):
        kd.likelihood(*fitted, training=(columns, weights, few))
    wide = kd.likelihood(*fitted, training=(columns, weights, many), populations=1)
    assert np.linalg.matrix_rank(wide.information) == 4
