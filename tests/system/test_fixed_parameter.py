"""A parameter that is fixed, from the config to the report."""

import numpy as np
import pytest

from support.command_line import run_here, run_told
from support.pages import Page
from support.process_groups import SMALL, result

pytestmark = pytest.mark.as_shipped  # as in other tests, with which programs are shared

FIT = [*SMALL, "fit.steps=20", "report.samples=500", "parameters.correlation.fixed=true"]
SCALED = "parameters.mean_2.scale=2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fixed")
    run_here(
        f"run_dir={folder / 'run'}", *FIT, SCALED, "parameters.correlation.guess=-0.2", cwd=folder
    )
    return folder


def told(folder, *overrides):
    return run_told(f"run_dir={folder / 'run'}", *FIT, SCALED, *overrides, cwd=folder)


def test_it_keeps_its_value_and_has_no_error(folder):
    history = np.load(folder / "run/history.npz")
    held = history["names"].tolist().index("correlation")
    np.testing.assert_array_equal(history["params"][:, held], np.float32(-0.2))
    found = result(folder / "run")
    assert found["params"]["correlation"] == float(np.float32(-0.2))
    assert found["errors"]["correlation"] is None
    assert found["scatter"]["correlation"] is None
    assert "; fixed: correlation" in found["errors_note"]
    assert found["errors"]["mean_1"] > 0


def test_a_scale_lengthens_the_steps(folder):
    """The first step of Adam is its learning rate, 0.1, in units of the scale."""
    history = np.load(folder / "run/history.npz")
    names = history["names"].tolist()
    first = np.abs(history["params"][1] - history["params"][0])
    assert first[names.index("mean_1")] == pytest.approx(0.1, rel=1e-3)
    assert first[names.index("mean_2")] == pytest.approx(0.2, rel=1e-3)


def test_the_report_says_so(folder):
    row = Page(folder / "run/report.html").row("correlation")
    assert row[-1] == "fixed"
    assert Page(folder / "run/report.html").row("mean_1")[-1] == ""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("parameters.correlation.fixed=false", "parameters.correlation.fixed: True -> False"),
        ("parameters.mean_2.scale=null", "parameters.mean_2.scale: 2.0 -> 1.0"),
    ],
)
def test_another_choice_is_another_fit(folder, change, line):
    code, _, err = told(folder, "parameters.correlation.guess=-0.2", "fit.steps=30", change)
    assert code == 2
    assert line in err


def test_an_inspection_shows_it_without_a_warning(folder):
    """At the guess 0.999 the parameter would be said to be at its bound, were it not fixed."""
    given = ["mode=inspect", "report.enabled=false", "parameters.correlation.guess=0.9989"]
    code, out, err = run_told(f"run_dir={folder / 'other'}", *FIT, *given, cwd=folder)
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("  correlation")]
    assert line.endswith(" fixed")
    assert "within 1% of a bound" not in out


def test_all_of_them_cannot_be_fixed(folder):
    names = ("mean_1", "mean_2", "variance_1", "variance_2")
    fixed = [f"parameters.{name}.fixed=true" for name in names]
    code, _, err = run_told(f"run_dir={folder / 'none'}", *FIT, *fixed, cwd=folder)
    assert code == 2
    assert "all of them are fixed: there is nothing to fit" in err
