"""Real processes that carry out one run stop and fail together: by signals, errors and losses."""

import re
import signal
from pathlib import Path

import pytest

from support.process_groups import TWO_DEVICES, Group, alone, assert_same_fit, result


@pytest.fixture(scope="module")
def straight(folder) -> Path:
    """A run of one process on the four devices of those that are disturbed."""
    alone(folder / "straight", cwd=folder, devices=4)
    return folder / "straight"


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


FAILING = """
import os, time
import jax
from kdescent_dist.models import gaussian

def model(params, key, catalog):
    what = os.environ.get("FAIL") if jax.process_index() == 1 else None
    in_fit = jax.sharding.get_abstract_mesh().manual_axes  # no mesh where the model is checked
    if what == "raise" and in_fit:
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
