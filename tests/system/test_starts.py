"""Many starts: each is kept, and the best of them is the guess of the fit."""

import json
import shutil

import numpy as np
import pytest

from support.command_line import run_told
from support.process_groups import SMALL, result

pytestmark = pytest.mark.as_shipped

GIVEN = (
    *SMALL,
    "fit.starts=4",
    "fit.start_steps=20",
    "fit.steps=40",
    "optimizer.schedule=constant",
    "optimizer.warmup_steps=0",
    "report.errors=false",
    "report.enabled=false",
    "runtime.compilation_cache=false",
)


def start(folder, name, *more, devices=1):
    code, _, err = run_told(*GIVEN, *more, f"run_dir={name}", cwd=folder, devices=devices)
    assert code == 0, err
    return json.loads((folder / name / "starts.json").read_text()), err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder, what is known of the starts, and what the run says."""
    folder = tmp_path_factory.mktemp("starts")
    return folder, *start(folder, "run")


@pytest.mark.slow
def test_the_fit_begins_at_the_best_start(whole):
    folder, known, err = whole
    losses = [one["loss"] for one in known["starts"]]
    assert known["best"] == int(np.argmin(losses))
    assert known["starts"][0]["guess"] == [0, 0, 1, 1, 0]
    assert f"starts: the best of 4 is number {known['best'] + 1}, loss " in err
    with np.load(folder / "run/history.npz") as history:
        # The coordinates of the optimizer round the guess.
        begun = history["params"][0]
    assert np.allclose(begun, known["starts"][known["best"]]["params"], rtol=1e-5, atol=1e-6)
    record = result(folder / "run")["phases"]["starts"]
    assert (record["status"], record["done"], record["parts"]) == ("done", 4, 4)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_a_run_that_was_stopped_goes_on_at_the_missing_start(whole, devices):
    """Stands for a kill: the run directory of one that was killed before its third start."""
    folder, known, _ = whole
    run = folder / f"killed-{devices}"
    kept = run / "phases/starts"
    kept.mkdir(parents=True)
    for i in range(2):
        name = f"{i:04d}.json"
        (kept / name).write_bytes((folder / "run/phases/starts" / name).read_bytes())
    before = (kept / "0001.json").stat().st_mtime_ns
    again, _ = start(folder, run.name, devices=devices)
    assert again == known
    assert (kept / "0001.json").stat().st_mtime_ns == before
    assert result(run)["params"] == result(folder / "run")["params"]


@pytest.mark.slow
def test_a_fit_that_was_begun_keeps_its_guess(whole):
    """Whatever the number of starts, and their steps, and with none of them left."""
    folder, _, _ = whole
    run = folder / "longer"
    shutil.copytree(folder / "run", run)
    shutil.rmtree(run / "phases")
    given = ("fit.starts=3", "fit.start_steps=30")
    known, err = start(folder, run.name, *given, "fit.steps=50")
    assert "starts: the fit was begun, and keeps its guess" in err
    assert known == whole[1]
    assert not (run / "phases/starts").exists()
    assert result(run)["step"] == 50
    assert result(run)["setup"]["guess"] == result(folder / "run")["setup"]["guess"]
    assert result(run)["setup"]["fit"]["starts"] == 3


def test_the_number_of_starts_is_positive(tmp_path):
    code, _, err = run_told("fit.starts=0", cwd=tmp_path)
    assert code == 2
    assert "fit.starts=0: must be at least 1" in err
