"""The errors that a result states: which are left out and why, and that they cost no fit."""

import numpy as np
import pytest

from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import Preempted
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.diagnostics.reported_errors import NOISY, state_errors
from kdescent_dist.response import distance
from kdescent_dist.response.newton import Newton
from support import problems
from support.minima import CHISQ, SIZE, carried_out

pytestmark = pytest.mark.usefixtures("few_populations")


def problem(bins, pairs=problems.BOUNDS, fixed=(), **options):
    objective = problems.objective(bins, size=SIZE, **{"loss": CHISQ, **options})
    return problems.problem(objective, pairs, fixed=fixed, seed=3)


def stated(given, params, progress=lambda: None):
    return state_errors(given, np.asarray(params, np.float32), progress)[0]


@pytest.fixture(scope="module")
def given(few_points):
    return problem(few_points)


@pytest.fixture(scope="module")
def minimum(given):
    return carried_out(Newton(given.linearizer), problems.TRUTH)[-1].params


@pytest.fixture(scope="module")
def result(given, minimum):
    return stated(given, minimum)


@pytest.mark.slow
def test_errors_are_stated_by_name_with_what_they_include(result):
    assert list(result["errors"]) == list(problems.NAMES)
    assert all(0 < error < 0.2 for error in result["errors"].values())
    assert result["errors_note"] == "noise of the training catalog"
    assert result["converged"]
    assert result["converged_note"] == ""
    assert all(abs(away) < 0.9 for away in result["distance"].values())
    assert all(0 < noise < 0.45 for noise in result["distance_noise"].values())
    assert result["acceptable"]
    assert result["goodness"]["degrees"] > 10


@pytest.mark.nightly
@pytest.mark.slow
def test_the_noise_of_an_input_catalog_is_included(few_points):
    mass = np.linspace(0, 1, SIZE, dtype=np.float32)
    of_catalog = stated(problem(few_points, catalog={"mass": mass}), problems.TRUTH)
    assert "noise of the training catalog and of the input catalog" in of_catalog["errors_note"]
    assert of_catalog["errors"]["fraction"] > 0


@pytest.mark.slow
def test_parameters_away_from_the_minimum_are_named_and_their_errors_labelled(
    given, result, minimum
):
    away = np.add(minimum, [0, 0, 5 * result["errors"]["scatter"], 0])
    found = stated(given, away)
    assert found["converged"] is False
    assert "scatter by -" in found["converged_note"]
    assert found["distance"]["scatter"] < -3
    assert "not converged" in found["errors_note"]
    # The noise of a large distance is a share of it, and no part of the errors.
    assert "too few populations" not in found["errors_note"]
    assert found["errors"]["scatter"] < 1.5 * result["errors"]["scatter"]


@pytest.mark.slow
def test_the_noise_of_the_minimum_is_part_of_the_errors(given, minimum, result, monkeypatch):
    """Four populations tell less than many where the minimum is."""
    monkeypatch.setattr(distance, "MOST", 4)
    monkeypatch.setattr(distance, "FEWEST_OF_MOST", 4)
    found = stated(given, minimum)
    noisy = [name for name, noise in found["distance_noise"].items() if noise**2 > NOISY]
    assert noisy
    assert (
        f"too few populations tell where the minimum is: {', '.join(noisy)}"
        in (found["errors_note"])
    )

    def of_rows(one):
        total, noise = (np.array(list(one[key].values())) for key in ("errors", "distance_noise"))
        return total**2 * (1 - noise**2)

    np.testing.assert_allclose(of_rows(found), of_rows(result), rtol=1e-9)


@pytest.mark.slow
def test_a_model_that_cannot_describe_the_data_is_not_acceptable(given, minimum):
    """The chi-square is that at a minimum nearby, but none is near these parameters."""
    found = stated(given, minimum * [1, 1, 1.3, 1])
    assert found["acceptable"] is False
    assert found["goodness"]["p_value"] < 1e-6
    assert "does not describe the data" in found["errors_note"]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_parameter_that_has_run_into_a_bound_has_no_error_and_is_fixed_for_the_others(
    few_points, minimum, result
):
    """Near a bound, and with the minimum beyond it; a bound alone is no reason."""
    fraction = float(minimum[3])
    pairs = [None, None, (0.05, None), (fraction + result["errors"]["fraction"], 1.0)]
    bound = problem(few_points, pairs)
    end = carried_out(Newton(bound.linearizer), np.add(minimum, [0, 0, 0, 0.02]))[-1]
    held = stated(bound, end.params)
    assert held["errors"]["fraction"] is None
    assert held["distance"]["fraction"] is None
    assert held["errors_note"] == "noise of the training catalog; held by a bound: fraction"
    assert held["converged"]
    for name in ("mean", "slope", "scatter"):
        assert 0.3 * result["errors"][name] < held["errors"][name] <= 1.1 * result["errors"][name]


@pytest.mark.slow
def test_a_fixed_parameter_has_no_error_and_those_of_the_others_are_as_if_it_were_known(
    few_points, minimum, result
):
    held = stated(problem(few_points, fixed=["fraction"]), minimum)
    assert held["errors"]["fraction"] is None
    assert held["errors_note"] == "noise of the training catalog; fixed: fraction"
    for name in ("mean", "slope", "scatter"):
        assert 0.3 * result["errors"][name] < held["errors"][name] <= 1.1 * result["errors"][name]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_term_of_the_users_own_takes_part(few_points, minimum, result):
    """A strong prior leaves no error of its parameter; the others have theirs."""

    def prior(sums, truth, params):
        return 1e6 * (params["mean"] - float(minimum[0])) ** 2

    found = stated(problem(few_points, custom=prior), minimum)
    assert 0 < found["errors"]["mean"] < 1e-2 * result["errors"]["mean"]
    assert all(found["errors"][name] > 0 for name in problems.NAMES)


@pytest.mark.slow
def test_the_covariance_is_that_of_the_parameters_that_have_an_error(few_points, minimum):
    """One is fixed, and one is determined by a term of the user's own, which states no noise."""

    def term(sums, truth, params):
        return 0.1 * (params["unused"] - 2.0) ** 2

    names = (*problems.NAMES, "unused")
    objective = problems.objective(few_points, names=names, size=SIZE, loss=CHISQ, custom=term)
    params = np.array([*minimum, 2.0], np.float32)
    parameters = Parameters.of_vector(params, names, fixed=["fraction"])
    catalog = TrainingCatalog.of(*problems.training())
    found, covariance = state_errors(Problem(objective, catalog, parameters, 3), params, bool)
    assert found["errors"]["unused"] is None
    assert found["errors_note"].endswith("by loss.custom alone, which states no noise: unused")
    assert covariance.names == ("mean", "slope", "scatter")
    np.testing.assert_array_equal(covariance.params, params[:3])
    np.testing.assert_array_equal(covariance.errors, [found["errors"][n] for n in covariance.names])
    assert found["covariance"]["matrix"] == covariance.covariance.tolist()
    assert found["covariance"]["includes"] == "noise of the training catalog"
    assert np.all(np.linalg.eigvalsh(covariance.correlation) > 0)
    assert 0.1 < abs(covariance.correlation[0, 1]) < 1  # an intercept and a slope


@pytest.mark.slow
def test_a_failure_is_told_and_loses_nothing_but_a_signal_is_heard(given, caplog):
    def fail():
        raise ValueError("on purpose")

    result = stated(given, problems.TRUTH, progress=fail)
    assert result["errors"] == dict.fromkeys(problems.NAMES)
    assert result["errors_note"] == "none: ValueError: on purpose"
    assert "no errors of the parameters: on purpose" in caplog.text

    def stop():
        raise Preempted("stopped", 3, np.zeros((0, 4)), np.zeros(0))

    with pytest.raises(Preempted):
        stated(given, problems.TRUTH, progress=stop)
