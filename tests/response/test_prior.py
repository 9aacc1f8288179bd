"""A prior in the finish and in the errors: against the analytic combination of data and prior."""

import numpy as np
import pytest

from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import LossConfig
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.diagnostics.reported_errors import state_errors
from kdescent_dist.response.covariance import parameter_covariance
from kdescent_dist.response.newton import Newton
from kdescent_dist.response.population_keys import population_keys
from support import problems
from support.minima import CHISQ, SIZE, carried_out

pytestmark = [pytest.mark.usefixtures("few_populations"), pytest.mark.slow]

NAMES = (*problems.NAMES, "unused")
START = np.array([*problems.TRUTH, 0.0], np.float32)


def problem(bins, priors, loss=CHISQ):
    parameters = Parameters.of_tree(dict(zip(NAMES, START, strict=True)), priors=priors)
    objective = problems.objective(bins, names=parameters, size=SIZE, loss=loss)
    return Problem(objective, TrainingCatalog.of(*problems.training()), parameters, 3)


@pytest.fixture(scope="module")
def without(few_points):
    return problem(few_points, {})


@pytest.fixture(scope="module")
def plain(without):
    """The loss without priors, linearized near its minimum, and the covariance there."""
    at = without.linearizer.at(START)
    return at, parameter_covariance(at)


@pytest.fixture(scope="module")
def prior(plain):
    """Three errors of the data above the truth, and as wide as the errors."""
    at, _ = plain
    width = np.sqrt(at.inverse[0, 0])
    return float(at.params[0] + 3 * width), float(width)


@pytest.fixture(scope="module")
def priors(prior):
    return {"mean": {"normal": list(prior)}, "unused": {"normal": [2.0, 0.25]}}


@pytest.fixture(scope="module")
def with_priors(few_points, priors):
    return problem(few_points, priors)


@pytest.fixture(scope="module")
def narrowed(with_priors):
    return with_priors, carried_out(Newton(with_priors.linearizer), START)[-1]


@pytest.mark.nightly
def test_the_finish_ends_where_data_and_prior_are_balanced(without, prior, narrowed):
    """Of a quadratic loss, (H + K)^-1 K times the way from the minimum to the prior's mean."""
    at = without.linearizer.at(carried_out(Newton(without.linearizer), START)[-1].params)
    mean, width = prior
    known = at.determined
    assert known.tolist() == [True] * 4 + [False]
    pull = np.array([(mean - at.params[0]) / width**2, 0.0, 0.0, 0.0])
    curvature = at.curvature[:4, :4] + np.diag([width**-2, 0, 0, 0])
    expected = at.params[:4] + np.linalg.solve(curvature, pull)
    _, end = narrowed
    assert end.message == "at the minimum"
    errors = np.sqrt(np.diagonal(np.linalg.inv(curvature)))
    assert np.all(np.abs(end.params[:4] - expected) < 0.3 * errors)
    assert (expected - at.params[:4])[0] > errors[0]
    assert end.params[4] == pytest.approx(2.0, abs=0.01)


def test_errors_combine_the_widths_of_data_and_prior(plain, prior, with_priors):
    at, covariance = plain
    params = at.params.copy()
    params[4] = 2.0
    found = parameter_covariance(with_priors.linearizer.at(params))
    curvature, known = at.curvature[:4, :4], np.diag([prior[1] ** -2, 0, 0, 0])
    noise = curvature @ covariance[:4, :4] @ curvature
    inverse = np.linalg.inv(curvature + known)
    np.testing.assert_allclose(found[:4, :4], inverse @ (noise + known) @ inverse, rtol=1e-3)
    assert found[0, 0] < 0.5 * covariance[0, 0]
    assert np.sqrt(found[4, 4]) == pytest.approx(0.25, rel=1e-6)
    np.testing.assert_allclose(found[4, :4], 0.0, atol=1e-12)


@pytest.mark.nightly
def test_a_result_tells_of_priors_and_of_what_they_alone_determine(narrowed):
    given, end = narrowed
    found, covariance = state_errors(given, end.params, lambda: None)
    assert found["errors_note"] == "noise of the training catalog and of the priors"
    assert found["errors"]["unused"] == pytest.approx(0.25, rel=1e-6)
    assert found["converged"]
    assert abs(found["distance"]["unused"]) < 0.1
    assert covariance.names == NAMES


def test_a_prior_takes_part_in_the_full_covariance_and_curves_no_loss_upside_down(few_points):
    """Far above the mode of a lognormal prior, -log p is concave. Errors of gls are H^-1."""
    priors = {"unused": {"normal": [2.0, 0.25]}, "scatter": {"lognormal": [-4.0, 0.3]}}
    at = problem(few_points, priors, LossConfig(kind="gls")).linearizer.at(START)
    assert at.of_prior[2] == 0.0
    assert at.of_prior[4] == pytest.approx(16.0)
    assert at.rough_errors()[4] == pytest.approx(0.25)
    posterior = np.sqrt(np.diagonal(at.inverse))
    np.testing.assert_allclose(np.sqrt(np.diagonal(parameter_covariance(at))), posterior, rtol=0.02)
    (key,) = population_keys(3, 1)
    _, direct = at.cotangent(at.whole.totals(START, key), START)
    assert direct[4] == pytest.approx((0.0 - 2.0) / 0.25**2)
    x = 0.5
    assert direct[2] == pytest.approx((np.log(x) + 4.0) / 0.3**2 / x + 1 / x, rel=1e-5)
