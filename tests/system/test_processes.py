"""Several real processes carry out one run: the same bits, and they stop and fail together."""

import re
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from support.process_groups import Group, alone, assert_same_fit, result

TWO_DEVICES = "runtime.cpu_devices=2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def straight(folder) -> Path:
    """An uninterrupted run in one process on one device."""
    alone(folder / "straight", cwd=folder)
    return folder / "straight"


@pytest.fixture(scope="module")
def interrupted(folder, straight) -> Path:
    """A run that was stopped on two processes with two devices each."""
    directory = folder / "interrupted"
    with Group(directory, 2, TWO_DEVICES, cwd=folder) as group:
        group.wait_for_steps(50)
        group.processes[0].send_signal(signal.SIGUSR1)
        assert [code for code, _ in group.ends()] == [75, 75]
    assert 50 <= result(directory)["step"] < 400
    return directory


@pytest.mark.parametrize(("processes", "devices"), [(4, 1), (1, 1), (1, 8)])
def test_a_run_continues_on_other_processes_and_devices(
    processes, devices, folder, straight, interrupted
):
    directory = shutil.copytree(interrupted, folder / f"{processes}x{devices}")
    if processes == 1:
        alone(directory, cwd=folder, devices=devices)
    else:
        settings = f"runtime.cpu_devices={devices}"
        with Group(directory, processes, settings, cwd=folder) as group:
            assert [code for code, _ in group.ends()] == [0] * processes
    assert_same_fit(directory, straight)
    found = result(directory)
    assert found["devices"]["count"] == processes * devices
    assert found["devices"]["processes"] == processes


# What the log of the run says when a start has got to a phase.
PHASES = {
    "pretraining": "catalog: ",
    "compiling": "pretrained ",
    "fitting": "saved checkpoint",
    "saving": "saved checkpoint",
}


def test_a_signal_to_one_process_stops_all_in_every_phase_and_they_continue(folder, straight):
    """To the process that does not write; each start is stopped in the next phase."""
    directory = folder / "phases"
    given = [TWO_DEVICES, "checkpoint.every_steps=1", "runtime.process_logs=true"]
    own_log = directory / "logs/process-1.txt"
    for phase in ("start", *PHASES):
        with Group(directory, 2, *given, cwd=folder) as group:
            if phase == "start":  # it listens from the moment that its own log is there
                group.wait(own_log.exists, "the start of the second process")
            else:
                group.wait_for(PHASES[phase])
            if phase == "fitting":
                group.wait_for_steps(30)
            group.processes[1].send_signal(signal.SIGTERM)
            ends = group.ends()
        assert [code for code, _ in ends] == [75, 75], (phase, ends)
        assert result(directory)["status"] == "preempted", phase
    with Group(directory, 2, *given, cwd=folder) as group:
        assert [code for code, _ in group.ends()] == [0, 0]
    assert "status: done" in own_log.read_text()
    assert_same_fit(directory, straight)
    done = result(directory)
    assert done["starts"] == 6
    assert 0 < done["useful_s"] < done["wall_s"]
    assert done["waited_s"] > 0


def test_another_problem_is_refused_with_the_differences(folder, interrupted):
    with Group(interrupted, 2, TWO_DEVICES, "seed=1", cwd=folder) as group:
        (first, told), (second, silent) = group.ends()
    assert (first, second) == (2, 2)
    assert "config.seed: 0 (default) -> 1" in told
    assert "kdescent-dist:" not in silent


FAILING = """
import os, time
import jax
from kdescent_dist.models import gaussian

traced = 0

def model(params, key, catalog):
    global traced
    traced += 1
    what = os.environ.get("FAIL") if jax.process_index() == 1 else None
    if what == "raise" and traced > 2:  # not when the model is checked, but in the fit
        raise ValueError("no such halo")
    if what == "hang":
        time.sleep(1000)
    return gaussian.gaussian(params, key, catalog)
"""


@pytest.mark.parametrize(
    ("fails", "expected", "message"),
    [
        ("raise", 1, r"process 1 of 2 failed: .*no such halo"),
        ("hang", 69, r"no progress for .* process \[1\] of 2 hangs in: reading the input"),
    ],
)
def test_a_process_that_raises_or_hangs_ends_the_others(fails, expected, message, folder):
    (folder / "halos.py").write_text(FAILING)
    directory = folder / fails
    model, patience = "model._target_=halos.model", "runtime.step_timeout=8"
    with Group(directory, 2, model, patience, cwd=folder, FAIL=fails) as group:
        ends = group.ends()
        assert [code for code, _ in ends] == [expected, expected], ends
        group.wait_for(message)
    assert result(directory)["status"] == "failed"
    assert re.search(message, result(directory)["message"])
    alone(directory, model, cwd=folder)


def test_a_save_that_fails_in_the_process_that_saves_ends_all(folder):
    directory = folder / "unsaved"
    many = ["fit.steps=100000", "checkpoint.every_steps=20"]
    with Group(directory, 2, *many, cwd=folder) as group:
        group.wait_for("saved checkpoint of step")
        (directory / "checkpoints").rename(folder / "away")
        (directory / "checkpoints").write_text("no folder any more")
        ends = group.ends()
    assert [code for code, _ in ends] == [1, 1], ends
    assert result(directory)["status"] == "failed"
    assert re.search(r"step \d+ could not be saved in .*checkpoints", result(directory)["message"])


HALOS = """
import jax
from kdescent_dist import Population

def model(params, key, catalog):
    noise = params["scatter"] * jax.random.normal(key, catalog["mass"].shape)
    return Population({"color": params["mean"] + catalog["mass"] + noise, "mass": catalog["mass"]})
"""
FROM_A_FILE = """
# @package _global_
name: halos
model: {_target_: halo_model.model}
parameters: {mean: {guess: 0.0}, scatter: {guess: 1.0, low: 0.01}}
catalog: {path: galaxies.npz}
input:
  columns: [mass]
  catalog: {path: halos.h5, where: mass > 0.3, weights: w}
samples: {size: 9000, block_size: 4500}
bins: {by_mass: {columns: [color], edges: {mass: [0.3, 0.5, 0.7, 1.0]}, pretrain_kernels: 50}}
counts: {bins: sparse, pretrain_block_size: 300}
fit: {steps: 30}
report: {enabled: false}
"""


@pytest.fixture(scope="module")
def halos(folder):
    """Overrides of a fit to a file, of halos in another; most that count are in one part of it."""
    rng = np.random.default_rng(0)
    mass = np.sort(rng.uniform(size=20_000))
    np.savez(folder / "galaxies.npz", mass=mass[::10], color=mass[::10] + rng.normal(size=2_000))
    with h5py.File(folder / "halos.h5", "w") as file:
        file["mass"], file["w"] = mass, rng.uniform(size=len(mass))
    (folder / "halo_model.py").write_text(HALOS)
    (folder / "experiment").mkdir()
    (folder / "experiment" / "halos.yaml").write_text(FROM_A_FILE)
    return [f"--config-dir={folder}", "experiment=halos"]


def test_processes_share_the_rows_of_an_input_catalog(folder, halos):
    """Of the model's input, one process has no block."""
    one, three = folder / "one", folder / "three"
    alone(one, *halos, cwd=folder, small=[])
    with Group(three, 3, *halos, cwd=folder, small=[]) as group:
        ends = group.ends()
    assert [code for code, _ in ends] == [0, 0, 0], ends
    assert_same_fit(one, three)
    assert result(one)["input_catalog"] == result(three)["input_catalog"]
    alone(three, *halos, cwd=folder, small=[])  # or else it would be refused


def test_processes_share_the_rows_of_the_training_catalog(folder, halos):
    """Also where it is the model's input, and in what the report shows."""
    given = [*halos, "input.catalog=null", "samples.size=null", "samples.block_size=200"]
    given += ["counts.bins=dense"]
    given += ["report.enabled=true", "report.samples=500", "fit.steps=5"]
    one, two = folder / "shown-by-one", folder / "shown-by-two"
    alone(one, *given, cwd=folder, small=[])
    with Group(two, 2, *given, cwd=folder, small=[]) as group:
        ends = group.ends()
    assert [code for code, _ in ends] == [0, 0], ends
    assert_same_fit(one, two)
    with np.load(one / "diagnostics.npz") as a, np.load(two / "diagnostics.npz") as b:
        assert a.files == b.files
        for name in set(a.files) - {"bins"}:  # sums of the model are added up in turns of devices
            rtol = 0 if "data" in name or "truth" in name else 1e-6
            np.testing.assert_allclose(a[name], b[name], rtol=rtol, err_msg=name)
    assert result(two)["errors"] == pytest.approx(result(one)["errors"], rel=1e-6)
    assert all(0 < error < 1 for error in result(one)["errors"].values())
    note = "noise of the training catalog and of the input catalog, which is the same"
    assert result(two)["errors_note"] == note
    assert (two / "report.html").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_lost_ends_the_others_and_the_run_can_be_continued(
    number, folder, straight
):
    directory = folder / number.name
    often = "checkpoint.every_steps=20"
    with Group(directory, 2, TWO_DEVICES, often, cwd=folder) as group:
        group.wait_for_steps(60)
        group.processes[1].send_signal(number)
        ((code, _),) = group.ends(0)
        assert code == 69
        assert "process 1 of 2 was lost" in group.log()
        assert result(directory)["status"] == "failed"
        assert "process 1 of 2 was lost" in result(directory)["message"]
        if number == signal.SIGSTOP:
            group.processes[1].send_signal(signal.SIGCONT)
            assert group.ends(1)[0][0] not in (0, 75)  # it does not go on by itself
            return  # what it left behind is the same
    with Group(directory, 2, TWO_DEVICES, cwd=folder) as group:
        assert [code for code, _ in group.ends()] == [0, 0]
    assert "continuing from the checkpoint of step" in group.log()
    assert_same_fit(directory, straight)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_loss_of_the_primary_ends_the_others(number, folder):
    directory = folder / f"primary-{number.name}"
    with Group(directory, 3, cwd=folder) as group:
        group.wait_for("pretrained")
        group.processes[0].send_signal(number)
        assert [code for code, _ in group.ends(1, 2)] == [69, 69]
    # One of the two that are left tells it.
    assert group.log().count("process 0 of 3 was lost") == 1
    assert result(directory)["status"] == "failed"
    assert "process 0 of 3 was lost" in result(directory)["message"]


@pytest.mark.parametrize("other", [0, 1])
def test_processes_that_do_not_meet_say_so(other, folder):
    with Group(folder / f"without-{other}", 2, "runtime.start_timeout=3", cwd=folder) as group:
        group.processes[other].kill()
        ((code, _),) = group.ends(1 - other)
    assert code == 1
    assert f"process {1 - other} of 2 did not meet the others" in group.log()
    assert "runtime.start_timeout" in group.log()
