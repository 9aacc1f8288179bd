"""A run that has not converged says so; the finish goes to the minimum, on any mesh."""

import pytest

from support.command_line import run_told
from support.pages import Page
from support.process_groups import SMALL, result

pytestmark = pytest.mark.as_shipped

FEW = [*SMALL, "fit.steps=10", "optimizer.learning_rate=0.01", "report.samples=500"]
PLAIN = ["report.enabled=false", "report.errors=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("converged")


@pytest.fixture(scope="module")
def stopped(folder):
    """Ten short steps, without a finish, of which convergence is required."""
    given = (*FEW, "mode=posterior", "fit.require_converged=true", f"run_dir={folder / 'run'}")
    return run_told(*given, cwd=folder)


@pytest.mark.slow
def test_a_fit_that_has_not_arrived_is_done_and_is_told_not_to_have_converged(folder, stopped):
    code, _, err = stopped
    assert code == 1
    known = result(folder / "run")
    assert known["status"] == "done"
    assert known["converged"] is False
    assert known["finish"] is None
    farthest = max(known["distance"], key=lambda name: abs(known["distance"][name]))
    assert abs(known["distance"][farthest]) > 10
    assert f"in errors: {farthest} by " in known["converged_note"]
    assert "not converged" in known["errors_note"]
    lines = err.strip().splitlines()
    assert any(line.endswith(f"not converged: {known['converged_note']}") for line in lines)
    assert lines[-1].startswith("kdescent-dist: fit.require_converged: expected moves")
    assert "posterior: not drawn, as fit.require_converged refuses the fit" in err
    assert not (folder / "run/posterior").exists()
    page = (folder / "run/report.html").read_text()
    assert "The fit has not converged" in page
    assert "Traceback" not in err


@pytest.mark.slow
def test_with_the_finish_it_ends_at_the_minimum_with_the_same_bits_on_any_mesh(folder, stopped):
    """On the same run directory, whose fit is done; and on four devices, in another."""
    given = (*FEW, "fit.finish=newton", "fit.require_converged=true")
    code, _, err = run_told(*given, f"run_dir={folder / 'run'}", cwd=folder)
    assert code == 0, err
    assert "converged: all parameters are at the minimum of the loss" in err
    known = result(folder / "run")
    assert known["converged"] is True
    assert known["finish"]["message"] == "at the minimum"
    assert abs(known["params"]["mean_1"] - 1.6) < 5 * known["errors"]["mean_1"]
    assert "finish: at the minimum" in err
    words = " ".join(Page(folder / "run/report.html").text.split())
    assert f"The finish took {known['finish']['steps']} Newton steps" in words
    assert "All parameters are at the minimum of the loss" in words
    four = (*FEW, "fit.finish=newton", *PLAIN, f"run_dir={folder / 'four'}")
    code, _, err = run_told(*four, cwd=folder, devices=4)
    assert code == 0, err
    other = result(folder / "four")
    assert other["params"] == known["params"]
    assert other["finish"] == known["finish"]


def test_required_convergence_needs_the_errors(folder):
    given = (*FEW, "fit.require_converged=true", "report.errors=false")
    code, _, err = run_told(*given, f"run_dir={folder / 'none'}", cwd=folder)
    assert code == 2
    assert "fit.require_converged=true: needs report.errors=true" in err
