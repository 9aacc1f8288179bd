"""The panels of coverage and starts are drawn, unless they are of another fit."""

import json

import pytest

from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.plots import coverage, starts
from support.run_directories import write_run


@pytest.fixture
def covered(tmp_path):
    """A run directory, and what its coverage.json and its starts.json say."""
    _, result, _ = write_run(tmp_path, {"all": BinsConfig(columns=["g_r"])})
    pair = [0.5, 0.1]
    one = {"bias": pair, "scatter_over_stated": pair, "within_68": pair, "within_95": pair}
    names = list(result["params"])[:2]
    parameters = {n: {**one, "stated": 1.0, "prior": n == names[0]} for n in names}
    known = {
        "truth": result["params"],
        "parameters": parameters,
        "fits": 9,
        "converged": 8,
        "failed": 0,
        "notes": ["rows are independent"],
    }
    begun = {"params": list(result["params"].values()), "loss": 1.0}
    of_starts = {"names": list(result["params"]), "best": 0, "starts": [begun]}
    result["setup"] = {"guess": result["params"]}
    for name, content in (("result", result), ("coverage", known), ("starts", of_starts)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path, result


def test_what_is_of_the_fit_is_drawn(covered):
    run = read_run(covered[0])
    (plot,) = coverage.PANEL.draw(run)
    assert plot.caption.startswith("9 catalogs: 8 fits converged")
    assert plot.caption.endswith(" Rows are independent.")
    labels = [text.get_text() for text in plot.figure.axes[0].get_yticklabels()]
    assert [label.endswith(" (prior)") for label in labels] == [True, False]
    assert len(list(starts.PANEL.draw(run))) == 1


def test_what_is_of_another_fit_is_not_drawn(covered):
    """As after the fit went on."""
    folder, result = covered
    other = {name: value + 1 for name, value in result["params"].items()}
    for changed, name, panel in (
        ({"params": other}, "coverage.json", coverage.PANEL),
        ({"setup": {"guess": other}}, "starts.json", starts.PANEL),
    ):
        (folder / "result.json").write_text(json.dumps({**result, **changed}))
        run = read_run(folder)
        assert f"{name} is of other parameters than result.json: it is not drawn." in run.notes
        assert list(panel.draw(run)) == []
