"""The errors that a result states: which are left out and why, and that they cost no fit."""

import numpy as np
import pytest

from kdescent_dist.config.errors import Preempted
from kdescent_dist.diagnostics import reported_errors as stated_errors
from support import problems

GRID = {"grid": problems.GRIDS["grid"]}


@pytest.fixture(scope="module")
def bins():
    return problems.pretrained(GRID)


def stated(
    bins, params=problems.TRUTH, pairs=problems.BOUNDS, progress=lambda: None, fixed=(), **options
):
    objective = problems.objective(bins, **options)
    problem = problems.problem(objective, bins, pairs, fixed=fixed, seed=0)
    return stated_errors.state_errors(problem, params, progress)


@pytest.mark.slow
def test_errors_are_stated_by_name_with_what_they_include(bins):
    result = stated(bins)
    assert list(result["errors"]) == list(problems.NAMES)
    assert all(0 < error < 0.2 for error in result["errors"].values())
    assert result["errors_note"] == "noise of the training catalog"
    mass = np.linspace(0, 1, problems.SIZE, dtype=np.float32)
    of_catalog = stated(bins, catalog={"mass": mass})
    assert of_catalog["errors_note"] == "noise of the training catalog and of the input catalog"
    assert of_catalog["errors"]["fraction"] > 0


@pytest.mark.slow
def test_a_parameter_that_has_run_into_a_bound_has_no_error_and_is_fixed_for_the_others(bins):
    """Near a bound, by the range between both, and within its error; a bound alone is no reason."""
    pairs = [None, None, (0.05, None), (0.2999, 1.0)]
    held, free = stated(bins, pairs=pairs), stated(bins)
    assert held["errors"]["fraction"] is None
    assert held["errors_note"] == "noise of the training catalog; held by a bound: fraction"
    for name in ("mean", "slope", "scatter"):
        assert 0.3 * free["errors"][name] < held["errors"][name] <= 1.01 * free["errors"][name]


@pytest.mark.slow
def test_a_fixed_parameter_has_no_error_and_those_of_the_others_are_as_if_it_were_known(bins):
    held = stated(bins, fixed=["fraction"])
    assert held["errors"]["fraction"] is None
    assert held["errors_note"] == "noise of the training catalog; fixed: fraction"
    # A parameter that a bound holds is taken out of the covariance in the same way.
    at_bound = stated(bins, pairs=[None, None, (0.05, None), (0.2999, 1.0)])
    assert held["errors"] == at_bound["errors"]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_term_of_the_users_own_takes_part(bins):
    """A strong prior leaves no error of its parameter; the others have theirs."""
    free = stated(bins)
    result = stated(bins, custom=lambda sums, truth, params: 1e6 * (params["mean"] - 0.1) ** 2)
    assert result["errors_note"] == "noise of the training catalog"
    assert 0 < result["errors"]["mean"] < 1e-3 * free["errors"]["mean"]
    assert all(result["errors"][name] > 0 for name in problems.NAMES)


@pytest.mark.slow
def test_a_failure_is_told_and_loses_nothing_but_a_signal_is_heard(bins, caplog):
    def fail():
        raise ValueError("on purpose")

    result = stated(bins, progress=fail)
    assert result["errors"] == dict.fromkeys(problems.NAMES)
    assert result["errors_note"] == "none: ValueError: on purpose"
    assert "no errors of the parameters: on purpose" in caplog.text

    def stop():
        raise Preempted("stopped", 3, np.zeros((0, 4)), np.zeros(0))

    with pytest.raises(Preempted):
        stated(bins, progress=stop)
