"""A run that is killed goes on in the phase in which it was killed."""

import subprocess
import time

import pytest

from support.command_line import run_told
from support.pages import Page
from support.process_groups import SMALL, command, environment, result

FIT = [*SMALL, "optimizer.schedule=constant", "fit.steps=30", "report.samples=500"]
PHASES = ["pretraining", "steps", "errors", "comparison"]


def status(folder):
    """The status of each phase, none before there is a result."""
    if not (folder / "run/result.json").exists():
        return {}
    return {name: one["status"] for name, one in result(folder / "run").get("phases", {}).items()}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with a run that was killed while it computed the errors of its parameters."""
    folder = tmp_path_factory.mktemp("killed")
    process = subprocess.Popen(
        command(folder / "run", small=FIT),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while status(folder).get("errors") != "running":
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    return folder


def test_a_run_that_is_killed_at_its_errors_goes_on_there_and_keeps_its_fit(killed):
    before = result(killed / "run")
    assert before["status"] == "done"
    assert "errors" not in before
    assert status(killed) == {"pretraining": "done", "steps": "done", "errors": "running"}

    def start(*overrides):
        code, _, err = run_told(f"run_dir={killed / 'run'}", *FIT, *overrides, cwd=killed)
        assert code == 0, err
        return err, result(killed / "run")

    err, after = start()
    assert "continuing from the checkpoint of step 30" in err
    assert (after["step"], after["params"]) == (30, before["params"])
    assert all(error > 0 for error in after["errors"].values())
    assert status(killed) == dict.fromkeys(PHASES, "done")
    assert [after["phases"][name]["starts"] for name in PHASES] == [2, 2, 2, 1]
    parts = [(after["phases"][name]["done"], after["phases"][name]["parts"]) for name in PHASES]
    assert parts == [(1, 1), (30, 30), (1, 1), (1, 1)]
    rows = [row for row in Page(killed / "run/report.html").rows if row[0] in PHASES and row[4:]]
    assert [row[:2] for row in rows] == [[name, "done"] for name in PHASES]
    assert rows[1][2] == "30 of 30"
    # The next start finds them, and that after some more steps does not.
    err, again = start()
    assert "errors: done by an earlier start" in err
    assert "comparison: done by an earlier start" in err
    assert again["errors"] == after["errors"]
    assert again["phases"]["errors"] == after["phases"]["errors"]
    err, longer = start("fit.steps=35")
    assert "errors: anew" in err
    assert longer["errors"] != after["errors"]
    assert longer["phases"]["errors"]["starts"] == 3
