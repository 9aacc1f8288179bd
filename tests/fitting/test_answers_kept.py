"""No start of a run loses what an earlier one has found, and none begins anew in silence."""

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from kdescent_dist.fitting.callbacks import Event, Metrics, read_metrics
from kdescent_dist.fitting.history import History
from kdescent_dist.run.clock import RunClock
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.result import saved_step, told, was_running, with_saved_step
from support.command_line import call
from support.process_groups import SMALL, command, environment, result

FIT = [*SMALL, "optimizer.schedule=constant", "report.enabled=false", "fit.steps=30"]
DONE = {"status": "done", "step": 60, "params": {"a": 1.5}, "loss": 0.1, "errors": {"a": 0.2}}


def start(folder: Path, *overrides: str, own_cache: bool = False) -> subprocess.Popen:
    shared = environment()
    if own_cache:  # of compiled programs, in the run directory as by default
        shared.pop("JAX_COMPILATION_CACHE_DIR")
    return subprocess.Popen(
        command(folder / "run", *overrides, small=FIT),
        cwd=folder,
        env=shared,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(monkeypatch, capfd):
    """Call the command in this process: its exit code, and what it complained about."""

    def call_in(folder: Path, *overrides: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        capfd.readouterr()
        code = call(monkeypatch, f"run_dir={folder / 'run'}", *FIT, *overrides)
        return code, capfd.readouterr().err

    return call_in


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    process = start(folder)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of a folder whose ``run`` is finished at step 30."""
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path


def wait_for(condition, process):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def test_a_start_that_is_killed_leaves_what_a_finished_run_has_found(folder, run):
    before = result(folder / "run")
    process = start(folder, "fit.steps=100000000", "checkpoint.every_seconds=null")
    wait_for(lambda: result(folder / "run").get("continued"), process)
    kill(process)
    after = result(folder / "run")
    assert was_running(after)
    for name in ("status", "step", "steps", "params", "loss", "scatter"):
        assert after[name] == before[name]
    code, err = run(folder, f"fit.guess_from={folder / 'run'}", f"run_dir={folder / 'other'}")
    assert code == 0, err


def test_a_signal_tells_how_far_a_finished_run_was_continued(folder, run):
    before = result(folder / "run")
    process = start(folder, "fit.steps=100000000")
    wait_for(lambda: len(read_metrics(folder / "run/metrics.jsonl")) > 40, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 75, err
    after = result(folder / "run")
    assert after["params"] == before["params"]
    assert after["continued"]["status"] == "preempted"
    assert after["continued"]["step"] > 40
    assert after["continued"]["params"] != before["params"]
    assert after["starts"] == 2
    code, err = run(folder, f"fit.steps={after['continued']['step'] + 5}")
    assert code == 0, err
    assert "continued" not in result(folder / "run")
    assert result(folder / "run")["step"] == after["continued"]["step"] + 5


@pytest.mark.parametrize("keep_config", [True, False])
def test_a_start_that_is_refused_leaves_the_result_as_it_was(folder, keep_config, run):
    """By config.yaml; and where that is lost, by the checkpoint."""
    if not keep_config:
        (folder / "run/config.yaml").unlink()
    before = (folder / "run/result.json").read_bytes()
    code, err = run(folder, "fit.steps=40", "optimizer.learning_rate=0.2")
    assert code == 2
    assert "optimizer.learning_rate: 0.1 -> 0.2" in err
    assert (folder / "run/result.json").read_bytes() == before
    assert sorted(d.name for d in (folder / "run/checkpoints").glob("*[0-9]*"))


@pytest.mark.parametrize(
    "change",
    ["optimizer.options.b1=0.8", "loss.statistic=chisq", "bins.all.weight=2", "fit.fixed_key=true"],
)
def test_a_checkpoint_knows_as_much_of_its_problem_as_config_yaml(folder, change, run):
    (folder / "run/config.yaml").unlink()
    code, err = run(folder, "fit.steps=40", "+" * change.startswith("optimizer.options") + change)
    assert code == 2
    assert f"config.{change.partition('=')[0]}: default -> " in err


def test_a_fit_keeps_the_guess_that_it_had_from_another_run_whatever_became_of_it(folder, run):
    begun = ["fit.guess_from=run", "run_dir=other", "fit.steps=5"]
    code, err = run(folder, *begun)
    assert code == 0, err
    guess = np.load(folder / "other/history.npz")["params"][0]
    assert run(folder, "fit.steps=33")[0] == 0
    assert run(folder, *begun, "fit.steps=7")[0] == 0
    (folder / "run").rename(folder / "elsewhere")
    code, err = run(folder, *begun, "fit.steps=9")
    assert code == 0, err
    assert "continuing from the checkpoint of step 7" in err
    np.testing.assert_array_equal(np.load(folder / "other/history.npz")["params"][0], guess)


def test_checkpoints_that_are_gone_are_missed_at_each_start(folder, run):
    (folder / "run/checkpoints").rename(folder / "elsewhere")
    before = (folder / "run/result.json").read_bytes()
    for _ in range(2):
        code, err = run(folder, "fit.steps=40")
        assert code == 1
        assert "there is no checkpoint, but result.json tells of one of step 30" in err
        assert "Bring it back from a copy; or, to fit from the beginning, choose another" in err
        assert "Traceback" not in err
    assert (folder / "run/result.json").read_bytes() == before
    (folder / "elsewhere").rename(folder / "run/checkpoints")
    assert run(folder, "fit.steps=40")[0] == 0


def test_with_the_result_gone_as_well_the_history_tells_that_a_fit_was_finished(folder, run):
    shutil.rmtree(folder / "run/checkpoints")
    (folder / "run/result.json").unlink()
    for _ in range(2):
        code, err = run(folder, "fit.steps=40")
        assert code == 1
        assert "there is no checkpoint, but history.npz is that of a finished fit" in err


def test_a_lost_history_of_checkpoints_costs_a_finished_run_nothing(folder, run):
    before = result(folder / "run")
    history = dict(np.load(folder / "run/history.npz"))
    (folder / "run/checkpoints/history.bin").unlink()
    code, err = run(folder)
    assert code == 0
    assert "30 of the 30 rows of the history are lost" in err
    assert result(folder / "run")["scatter"] == before["scatter"]
    for name, values in np.load(folder / "run/history.npz").items():
        np.testing.assert_array_equal(values, history[name])


def test_checkpoints_that_are_all_damaged_are_named_at_each_start(folder, run):
    for file in (folder / "run/checkpoints").rglob("metadata"):
        file.write_bytes(b"")
    for _ in range(2):
        code, err = run(folder, "fit.steps=40")
        assert code == 1
        assert "not one of its checkpoints can be used" in err
        assert "Traceback" not in err
    assert result(folder / "run")["status"] == "done"
    assert not list((folder / "run/checkpoints").glob("*.damaged*"))


def test_a_run_that_is_killed_again_and_again_gets_on(tmp_path):
    """A few seconds of steps each, by the shipped interval of a minute."""
    steps = []
    for _ in range(2):
        metrics = tmp_path / "run/metrics.jsonl"
        before = len(read_metrics(metrics))
        often = "checkpoint.every_seconds=60"
        process = start(tmp_path, "fit.steps=100000000", often, own_cache=True)
        wait_for(lambda m=metrics, b=before: len(read_metrics(m)) > b, process)
        time.sleep(4)
        kill(process)
        steps.append(saved_step(result(tmp_path / "run")))
    assert 0 < steps[0] < steps[1]
    assert list((tmp_path / "run/cache").iterdir())


@pytest.mark.parametrize("size", ["16k", "200k"])
def test_a_full_disk_is_told_in_one_line_and_costs_no_checkpoint(tmp_path, size):
    if os.geteuid() != 0:
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell("a small disk can be mounted by root alone")
    (tmp_path / "run").mkdir()
    mounted = f"mount -t tmpfs -o size={size} tmpfs {tmp_path}/run/checkpoints && exec "
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir()
    small = [*FIT, "fit.steps=100000", "fit.steps_per_call=10", "checkpoint.every_steps=10"]
    fit = command(tmp_path / "run", small=small)
    keep = f"; cp -r {checkpoints} {tmp_path}/kept; exit $code"
    script = f"{mounted.removesuffix('exec ')} {{ {' '.join(map(repr, fit))}; code=$?{keep}; }}"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "could not be saved" in line]
    assert str(checkpoints) in line
    assert "No space left on device" in line
    assert "Traceback" not in done.stderr
    there = {int(d.name) for d in (tmp_path / "kept").iterdir() if d.name.isdigit()}
    log = (tmp_path / "run/log.txt").read_text()
    saved = [int(line.split()[-1]) for line in log.splitlines() if "saved checkpoint" in line]
    assert there == set(saved[-3:])
    record = result(tmp_path / "run")
    assert record["status"] == "failed"
    assert "No space left on device" in record["message"]
    assert record["step"] == max(there, default=0)
    assert record["params"] is not None


def rows(first, last):
    history = History(np.zeros((last - first, 1)), np.arange(first, last), np.zeros(last - first))
    return Event(last, 100, first, history, 1.0, 10)


def test_a_kill_within_the_cut_of_the_metrics_loses_no_row(tmp_path, monkeypatch):
    file = tmp_path / "metrics.jsonl"
    Metrics(file)(rows(0, 50))

    def killed(*_):
        raise KeyboardInterrupt

    # Nothing is written to the file itself before the new one takes its place.
    with monkeypatch.context() as context:
        context.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Metrics(file)(rows(40, 60))
    assert [row["step"] for row in read_metrics(file)] == list(range(50))
    Metrics(file)(rows(40, 60))
    assert [row["step"] for row in read_metrics(file)] == list(range(60))


@pytest.mark.parametrize("damage", [b"\xff", b"}", b"[1]\n", b'{"step": "x"}\n', b""])
def test_a_damaged_row_of_the_metrics_costs_that_row_alone(tmp_path, damage):
    file = tmp_path / "metrics.jsonl"
    Metrics(file)(rows(0, 9))
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:4], damage + lines[4][len(damage) :], *lines[5:]]))
    steps = {row["step"] for row in read_metrics(file)}
    assert steps >= set(range(9)) - {4}
    Metrics(file)(rows(9, 12))
    assert {row["step"] for row in read_metrics(file)} >= set(range(12)) - {4}


def test_numbers_of_a_result_that_was_altered_count_as_not_there(tmp_path):
    before = {"continued": None, "starts": "x", "wall_s": None, "first_start": [], "step": "1"}
    times = RunClock(before, tmp_path / "metrics.jsonl").times()
    assert times["starts"] == 1
    assert saved_step(before) == 0
    assert not was_running(before)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1, 2]", b'{"status": "do', b"[" * 10**5])
def test_a_damaged_result_says_nothing(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    assert RunDirectory(tmp_path).result() == {}


def test_errors_are_kept_with_the_parameters_that_they_are_of():
    now = {"status": "done", "step": 60, "params": {"a": 1.5}, "loss": 0.1}
    assert told(DONE, now)["errors"] == {"a": 0.2}
    assert "errors" not in told(DONE, {**now, "step": 70})
    assert "errors" not in told(DONE, {**now, "params": {"a": 1.6}})


def test_a_later_failure_stands_beside_the_answer():
    now = {"status": "failed", "step": 80, "params": {"a": 9.0}, "message": "why", "starts": 2}
    after = told(DONE, now)
    assert {name: after[name] for name in DONE} == DONE
    assert after["continued"]["message"] == "why"
    assert after["starts"] == 2
    assert saved_step(after) == 80
    assert saved_step(with_saved_step(after, 90)) == 90
    assert told(after, {**DONE, "step": 100})["step"] == 100


def test_the_last_known_parameters_stay_until_there_are_later_ones():
    before = {"status": "preempted", "step": 20, "params": {"a": 1.0}, "loss": 0.5}
    running = told(before, {"status": "running", "step": 20, "params": None, "loss": None})
    assert running["params"] == {"a": 1.0}
    later = told(before, {"status": "failed", "step": 30, "params": {"a": 2.0}, "loss": 0.4})
    assert later["params"] == {"a": 2.0}


def test_a_full_disk_has_room_for_a_result_in_the_place_of_the_last(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path)
    directory.write_result({"status": "running"})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    directory.write_result({"status": "failed"})
    assert directory.result() == {"status": "failed"}
    with pytest.raises(OSError, match="No space"):
        directory.write_result({"message": "x" * 5000})
    assert directory.result() == {"status": "failed"}
    # An answer is never overwritten in place, where half of it might be all that is left.
    (tmp_path / "result.json").write_text(json.dumps(DONE, indent=2))
    with pytest.raises(OSError, match="No space"):
        directory.write_result({"status": "failed"})
    assert directory.result() == DONE


@pytest.mark.parametrize("damage", ["half", b"\xff", b"\0", b"name: x\n"])
def test_a_damaged_config_is_named_and_not_the_command_of_the_user(folder, damage, run):
    file = folder / "run/config.yaml"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage + whole)
    code, err = run(folder, "fit.steps=40")
    assert code == 2
    assert f"{file} cannot be read: " in err
    assert "Bring it back from a copy, or choose another run_dir" in err
    assert "Traceback" not in err
