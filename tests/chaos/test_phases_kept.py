"""A run that is killed goes on in the phase in which it was killed."""

import json
import subprocess
import time

import numpy as np
import pytest

from support.command_line import run_told
from support.pages import Page
from support.process_groups import SMALL, command, environment, result

FIT = [
    *SMALL,
    "optimizer.schedule=constant",
    "fit.steps=30",
    "fit.finish=newton",
    "report.samples=500",
]
PHASES = ["pretraining", "steps", "finish", "errors", "comparison"]


def status(folder):
    """The status of each phase, none before there is a result."""
    if not (folder / "run/result.json").exists():
        return {}
    return {name: one["status"] for name, one in result(folder / "run").get("phases", {}).items()}


def kill_once(folder, condition, *overrides):
    """Start a run in a folder, and kill it once a condition holds."""
    process = subprocess.Popen(
        command(folder / "run", *overrides, small=FIT),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with a run that was killed while it computed the errors of its parameters."""
    folder = tmp_path_factory.mktemp("killed")
    kill_once(folder, lambda: status(folder).get("errors") == "running")
    return folder


def newton_steps(folder):
    """Number of saved Newton steps, 0 before there are any."""
    file = folder / "run/checkpoints/finish.json"
    return json.loads(file.read_text())["state"]["steps"] if file.exists() else 0


@pytest.mark.as_shipped
def test_a_run_that_is_killed_in_its_finish_ends_with_the_bits_of_one_that_is_not(tmp_path):
    alone = ["fit.steps=10", "report.enabled=false", "report.errors=false"]
    (tmp_path / "killed").mkdir()
    kill_once(tmp_path / "killed", lambda: newton_steps(tmp_path / "killed") > 0, *alone)
    assert result(tmp_path / "killed/run")["status"] == "running"
    assert status(tmp_path / "killed")["finish"] == "running"
    ends = []
    for folder in (tmp_path / "killed", tmp_path):
        code, _, err = run_told(f"run_dir={folder / 'run'}", *FIT, *alone, cwd=tmp_path)
        assert code == 0, err
        assert ("finish: continuing after step" in err) == (folder != tmp_path)
        ends.append(result(folder / "run"))
    assert ends[0]["finish"]["steps"] > 1
    assert ends[0]["finish"]["message"] == "at the minimum"
    for name in ("params", "finish", "loss"):
        assert ends[0][name] == ends[1][name]


def test_a_run_that_is_killed_at_its_errors_goes_on_there_and_keeps_its_fit(killed):
    before = result(killed / "run")
    assert before["status"] == "done"
    assert "errors" not in before
    assert status(killed) == dict.fromkeys(PHASES[:3], "done") | {"errors": "running"}

    def start(*overrides):
        code, _, err = run_told(f"run_dir={killed / 'run'}", *FIT, *overrides, cwd=killed)
        assert code == 0, err
        return err, result(killed / "run")

    err, after = start()
    assert "continuing from the checkpoint of step 30" in err
    assert (after["step"], after["params"]) == (30, before["params"])
    assert all(error > 0 for error in after["errors"].values())
    assert status(killed) == dict.fromkeys(PHASES, "done")
    assert [after["phases"][name]["starts"] for name in PHASES] == [2, 2, 2, 2, 1]
    parts = [(after["phases"][name]["done"], after["phases"][name]["parts"]) for name in PHASES]
    assert parts == [(1, 1), (30, 30), (1, 1), (1, 1), (1, 1)]
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


@pytest.mark.as_shipped
def test_a_chain_that_is_killed_goes_on_with_the_bits_of_one_that_is_not(tmp_path):
    """On another number of devices, too."""
    alone = [
        *("mode=posterior", "fit.steps=10", "report.enabled=false", "report.errors=false"),
        *("posterior.chains=1", "posterior.draws=400", "posterior.warmup=30"),
        "posterior.populations=1",
    ]
    killed = tmp_path / "killed"
    killed.mkdir()
    kill_once(killed, lambda: (killed / "run/posterior/chain-0.npz").exists(), *alone)
    assert status(killed)["posterior"] == "running"
    assert result(killed / "run")["status"] == "done"
    ends = []
    for folder, devices in ((killed, 4), (tmp_path, 1)):
        given = (f"run_dir={folder / 'run'}", *FIT, *alone)
        code, _, err = run_told(*given, cwd=tmp_path, devices=devices)
        assert code == 0, err
        assert ("posterior: chain 0 continues after draw" in err) == (folder == killed)
        ends.append(result(folder / "run")["posterior"])
        with np.load(folder / "run/posterior/chain-0.npz") as chain:
            ends[-1]["bits"] = {name: chain[name].tobytes() for name in chain if name != "of"}
    assert ends[0] == ends[1]
