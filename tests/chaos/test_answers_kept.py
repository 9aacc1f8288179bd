"""No start of a run loses what an earlier one has found, and none begins anew in silence."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from kdescent_dist.fitting.callbacks import read_metrics
from kdescent_dist.run.result import saved_step, was_running
from support import rings
from support.command_line import call, run_here
from support.process_groups import SMALL, command, environment, result

FIT = [
    *SMALL,
    "optimizer.schedule=constant",
    "report.enabled=false",
    "report.errors=false",
    "fit.steps=30",
]


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
    run_here(f"run_dir={folder / 'run'}", *FIT, cwd=folder)
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
    ("change", "line"),
    [
        ("optimizer.options.b1=0.8", "optimizer.options.b1: not set -> 0.8"),
        ("loss.kind=chisq", "loss.kind: mse (default) -> chisq"),
        ("bins.all.weight=2", "bins.all.weight: 1.0 (default) -> 2.0"),
        ("fit.fixed_key=true", "fit.fixed_key: False (default) -> True"),
    ],
)
def test_a_checkpoint_knows_as_much_of_its_problem_as_config_yaml(folder, change, line, run):
    (folder / "run/config.yaml").unlink()
    code, err = run(folder, "fit.steps=40", "+" * change.startswith("optimizer.options") + change)
    assert code == 2
    assert f"config.{line}" in err


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


@pytest.mark.nightly
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
        rings.cannot_run("a small disk can be mounted by root alone")
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
