"""The panel of the covariance of the parameters, and the file that it is drawn from."""

import json

import numpy as np
import pytest

from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.report import make_report
from kdescent_dist.report.data.covariance import MOST_IN_RESULT, ParameterCovariance
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.plots.covariance import most_correlated
from support.pages import Page
from support.run_directories import write_run


def covariance_of(fitted, number):
    """A covariance of the first parameters, of which neighbors are correlated by a half."""
    names = tuple(fitted)[:number]
    errors = 0.01 * np.arange(1, number + 1)
    correlation = np.eye(number) + 0.5 * (np.eye(number, k=1) + np.eye(number, k=-1))
    params = np.array([fitted[name] for name in names])
    covariance = correlation * np.outer(errors, errors)
    return ParameterCovariance(names, params, covariance, "noise of the training catalog")


@pytest.fixture
def run(tmp_path):
    """A finished fit of twelve parameters, of which eleven have an error; the names of plots."""
    _, result, _ = write_run(tmp_path, {"colors": BinsConfig(columns=["g_r"])}, parameters=12)
    found = covariance_of(result["params"], 11)
    (tmp_path / "result.json").write_text(json.dumps(result | {"covariance": found.to_json()}))
    np.savez(tmp_path / "covariance.npz", **found.to_arrays())
    return tmp_path


@pytest.mark.slow
def test_correlations_of_all_and_a_corner_plot_of_ten_are_drawn(run):
    page = Page(make_report(run))
    assert {p.name for p in (run / "plots").glob("cov*")} == {
        "covariance.png",
        "covariance_corner.png",
    }
    assert "Correlations of the errors of all parameters that have one" in page.text
    assert "for 10 of 11 parameters: those with the largest correlations" in page.text


def test_a_covariance_of_other_parameters_is_not_drawn_and_told(run):
    with np.load(run / "covariance.npz") as file:
        arrays = dict(file)
    assert read_run(run).covariance is not None
    np.savez(run / "covariance.npz", **{**arrays, "params": arrays["params"] + 1e-9})
    found = read_run(run)
    assert found.covariance is None
    assert "covariance.npz is of other parameters than result.json: it is not drawn." in found.notes
    (run / "covariance.npz").unlink()
    assert any("covariance.npz has not been written" in note for note in read_run(run).notes)


def test_a_run_without_errors_lacks_nothing(tmp_path):
    write_run(tmp_path, {"colors": BinsConfig(columns=["g_r"])}, parameters=2, size=200)
    found = read_run(tmp_path)
    assert (found.covariance, found.notes) == (None, [])


@pytest.mark.parametrize("number", [2, MOST_IN_RESULT, MOST_IN_RESULT + 1])
def test_the_result_has_the_matrix_of_few_parameters_and_the_file_that_of_any_number(number):
    found = covariance_of({f"p{i}": float(i) for i in range(number)}, number)
    entry = json.loads(json.dumps(found.to_json()))
    assert (entry["matrix"] is None) == (number > MOST_IN_RESULT)
    assert len(entry["names"]) == number
    again = ParameterCovariance.from_arrays(found.to_arrays())
    assert (again.names, again.includes) == (found.names, found.includes)
    np.testing.assert_array_equal(again.covariance, found.covariance)
    np.testing.assert_allclose(np.diagonal(found.correlation, 1), 0.5)


def test_the_most_correlated_parameters_are_chosen_in_their_order():
    correlation = np.eye(5)
    correlation[1, 4] = correlation[4, 1] = -0.9
    correlation[0, 2] = correlation[2, 0] = 0.3
    assert most_correlated(correlation, 2) == [1, 4]
    assert most_correlated(correlation, 4) == [0, 1, 2, 4]
