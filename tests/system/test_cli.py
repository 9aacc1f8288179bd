"""The command line as a user meets it: signals to processes, exit codes and messages."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kdescent_dist.models.gaussian import gaussian
from support.command_line import call, flags_kept, run_told
from support.process_groups import SMALL, environment, result

pytestmark = pytest.mark.as_shipped


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "kdescent_dist.cli", *SMALL, *overrides]


def start(folder: Path, *overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*overrides),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *overrides: str, devices: int = 1) -> subprocess.CompletedProcess:
    """The command in this process, on some of its devices."""
    given = [*SMALL, *overrides]
    code, out, err = run_told(*given, cwd=folder, devices=devices)
    return subprocess.CompletedProcess(given, code, out, err)


def steps_told(folder: Path) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run, in a folder that has nothing to do with the repository."""
    folder = tmp_path_factory.mktemp("elsewhere")
    process = start(folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (directory,) = (folder / "runs").iterdir()
    return directory, subprocess.CompletedProcess(process.args, 0, out, err)


def test_a_run_leaves_its_whole_record(finished):
    directory, done = finished
    assert "status: done" in done.stderr
    assert {path.name for path in directory.iterdir()} >= {
        "config.yaml",
        "checkpoints",
        "pretrain",
        "metrics.jsonl",
        "result.json",
        "history.npz",
        "covariance.npz",
        "diagnostics.npz",
        "plots",
        "report.html",
        "log.txt",
    }
    record = result(directory)
    assert record["status"] == "done"
    assert record["step"] == 400
    assert set(record["params"]) == {
        "mean_1", "mean_2", "variance_1", "variance_2", "correlation"
    }  # fmt: skip
    assert record["params"]["mean_1"] == pytest.approx(1.6, abs=0.15)
    assert record["errors"].keys() == record["params"].keys()
    offset = abs(record["params"]["mean_1"] - 1.6)
    assert offset < 4 * record["errors"]["mean_1"] < 0.5
    assert record["errors_note"] == "noise of the training catalog"
    with np.load(directory / "covariance.npz") as file:
        assert file["names"].tolist() == list(record["errors"])
        assert file["covariance"].tolist() == record["covariance"]["matrix"]
        variances = np.square(list(record["errors"].values()))
        np.testing.assert_allclose(np.diagonal(file["covariance"]), variances)
    assert {"loss", "seed", "versions", "devices", "wall_s"} <= set(record)
    steps = steps_told(directory)
    assert steps == list(range(400))


def test_no_progress_bar_where_nobody_watches(finished):
    _, done = finished
    assert "\r" not in done.stderr
    assert "%|" not in done.stderr


def test_a_finished_run_started_again_is_done_at_once_with_the_same_result(finished):
    directory, _ = finished
    before = np.load(directory / "history.npz")["params"].tobytes()
    again = run(directory.parents[1])
    assert again.returncode == 0, again.stderr
    assert "continuing from the checkpoint of step 400" in again.stderr
    assert np.load(directory / "history.npz")["params"].tobytes() == before
    steps = steps_told(directory)
    assert steps == list(range(400))


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)]
)
def test_a_signal_saves_and_a_restart_ends_with_the_same_bits(finished, tmp_path, number):
    """Onto another number of devices, too: the bits are those of the uninterrupted run."""
    directory, _ = finished
    slow = "fit.seconds_per_call=0.001"  # short dispatches leave time for the signal to arrive
    process = start(tmp_path, "run_dir=run", "report.enabled=false", "report.errors=false", slow)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not metrics.exists() or metrics.stat().st_size < 500:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 75, err
    stopped = result(tmp_path / "run")
    assert stopped["status"] == "preempted"
    assert 0 < stopped["step"] < 400
    again = run(tmp_path, "run_dir=run", "report.enabled=false", "report.errors=false", devices=4)
    assert again.returncode == 0, again.stderr
    assert f"continuing from the checkpoint of step {stopped['step']}" in again.stderr
    for name in ("params", "loss", "grad_norm"):
        resumed = np.load(tmp_path / "run" / "history.npz")[name]
        assert resumed.tobytes() == np.load(directory / "history.npz")[name].tobytes()
    assert result(tmp_path / "run")["params"] == result(directory)["params"]
    steps = steps_told(tmp_path / "run")
    assert steps == list(range(400))


def test_a_signal_before_the_first_step_is_heard(tmp_path):
    process = start(tmp_path, "run_dir=run")
    log = tmp_path / "run" / "log.txt"
    deadline = time.monotonic() + 200
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 75, err


@pytest.mark.nightly
def test_a_signal_after_the_fit_leaves_its_report_to_the_next_start(finished, tmp_path):
    process = start(tmp_path, "run_dir=run")
    deadline = time.monotonic() + 200
    while not (tmp_path / "run/result.json").exists() or result(tmp_path / "run")["loss"] is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 75, err
    assert "stopped by SIGTERM after the fit, before its report" in err
    assert result(tmp_path / "run")["status"] == "done"
    assert result(tmp_path / "run")["params"] == result(finished[0])["params"]
    assert not (tmp_path / "run/report.html").exists()
    assert run(tmp_path, "run_dir=run").returncode == 0
    assert (tmp_path / "run/report.html").exists()


@pytest.mark.parametrize("size", [pytest.param(0, marks=pytest.mark.nightly), 1000])
def test_pretrained_counts_that_are_damaged_are_computed_again(finished, tmp_path, size):
    directory = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(directory / "checkpoints")
    (directory / "result.json").unlink()
    (directory / "history.npz").unlink()
    (file,) = (directory / "pretrain").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    again = run(tmp_path, "run_dir=run", "report.enabled=false", "report.errors=false")
    assert again.returncode == 0, again.stderr
    assert f"{file.name} cannot be used" in again.stderr
    assert file.stat().st_size == len(whole)
    assert result(directory)["params"] == result(finished[0])["params"]


def test_bins_and_terms_are_added_on_the_command_line(main):
    code, err = main(
        "+bins.more.columns=[x1]",
        "bins.more.pretrain_kernels=50",
        f"loss.custom={{_target_: {__name__}.prior, width: 0.5}}",
        "report.enabled=false",
        "report.errors=false",
        "fit.steps=3",
    )
    assert code == 0, err
    assert "pretrained 2 bins" in err
    assert result(Path("run"))["loss"] > 1e6


def prior(sums, truth, params, width):
    return 1e7 + (params["mean_1"] / width) ** 2


def test_a_fit_begins_where_another_has_ended(main, finished):
    """What it does not know keeps its own guess."""
    other = (
        "~parameters.mean_2",
        "+parameters.mean_3.guess=0.25",
        f"model._target_={__name__}.renamed",
    )
    given = *other, "optimizer.schedule=constant", f"fit.guess_from={finished[0]}"
    code, err = main(*given, "report.enabled=false", "report.errors=false", "fit.steps=2")
    assert code == 0, err
    assert f"guess: the parameters of {finished[0]}" in err
    with np.load("run/history.npz") as history:
        begun = dict(zip(history["names"].tolist(), history["params"][0].tolist(), strict=True))
    assert begun.pop("mean_3") == 0.25
    ended = result(finished[0])["params"]
    # To the rounding of the transform that keeps them within their bounds.
    assert begun == pytest.approx({name: ended[name] for name in begun}, rel=1e-6)
    # What has begun goes on from its checkpoint, not from there.
    code, err = main(*given, "report.enabled=false", "report.errors=false", "fit.steps=4")
    assert code == 0, err
    assert "continuing from the checkpoint of step 2" in err


def renamed(params, key, size):
    return gaussian(params | {"mean_2": params["mean_3"]}, key, size)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"params": None, "status": "running"}, "has no parameters yet (status: running)"),
        ({"params": {"mean": 1.0}, "status": "done"}, "mean_1: did you mean mean"),
        ({"status": "done"}, "its result.json cannot be read"),
    ],
)
def test_a_run_that_is_no_guess_is_refused(main, found, message):
    Path("other").mkdir()
    Path("other/result.json").write_text(json.dumps(found))
    code, err = main("fit.guess_from=other")
    assert code == 2
    assert "fit.guess_from=other: " in err
    assert message in err


def test_another_problem_is_refused_in_the_same_directory(finished):
    directory, _ = finished
    refused = run(directory.parents[1], f"run_dir={directory}", "seed=5", "bins.all.kernels=9")
    assert refused.returncode == 2
    assert "bins.all.kernels: 8 -> 9" in refused.stderr
    assert "config.seed: 0 (default) -> 5" in refused.stderr


@pytest.fixture
def main(monkeypatch, capfd, tmp_path):
    """Call the command in this process, and return its exit code and what it complained about."""
    monkeypatch.chdir(tmp_path)

    def small(*overrides: str) -> tuple[int, str]:
        flags = [o for o in overrides if o.startswith("-")]
        values = [o for o in overrides if not o.startswith("-")]
        code = call(monkeypatch, *flags, *SMALL, "run_dir=run", *values)
        return code, capfd.readouterr().err

    with flags_kept():
        yield small


BAD = [
    ("fit.stepz=3", "fit.stepz: there is no such key; did you mean steps"),
    ("fit.steps=many", "fit.steps: Value 'many' of type 'str' could not be converted to Integer"),
    ("fit.steps=0", "fit.steps=0: must be at least 1"),
    ("seed=-1", "seed=-1: must be at least 0"),
    ("loss.weights.kde=0", "no term is left to fit"),
    ("loss.weights.kde=inf", "loss.weights.kde=inf: must be finite"),
    ("runtime.platform=gpu", "runtime.platform=gpu"),
    ("experiment=quikstart", "quickstart"),
    ("optimizer.learning_rate=-1", "optimizer.learning_rate=-1.0: must be greater than 0"),
    ("optimizer.name=adams", "optimizer.name=adams: did you mean"),
    ("+optimizer.options.b9=1", "optimizer.options.b9"),
    ("parameters.mean_3.guess=1", "parameters.mean_3: there is no such key; did you mean"),
    ("+parameters.mean_3={low: 1}", "mean_3"),
    ("parameters.correlation.guess=2", "parameters.correlation: guess 2 is outside its bounds"),
    ("parameters.mean_1.low=5", "parameters.mean_1: guess 0 is outside its bounds (5, inf)"),
    (
        "parameters.mean_1={low: 1, high: -1}",
        "parameters.mean_1: lower bound 1 is not below upper bound -1",
    ),
    ("bins.all.columns=[x1, x9]", "x9"),
    ("bins.all.columns=[]", "bins.all.columns: name at least one column"),
    ("bins.all.normalization=percent", "bins.all.normalization=percent: must be one of"),
    ("+bins.all.edges={x1: [2, 1]}", "bins.all.edges.x1: [2, 1] must increase, but 2"),
    ("+bins.all.edges={x1: 3}", "bins.all.edges.x1: 3 must be a list of numbers"),
    (
        "bins.all.edges={x1: [0, 1]}",
        "there is no such key yet: to add it, write +bins.all.edges.x1",
    ),
    ("+bins.all.edges={x1: {number: 3, low: 60}}", "bins.all.edges.x1: low 60 is not below"),
    ("+bins.all.edges={x1: {quantile: 3}}", "edges.x1.quantile: there is no such key; did you"),
    ("+bins.all.edges={x1: [50, 60, 70]}", "bins.all: 2 bins hold fewer training samples than"),
    ("+bins.all.edges={x9: [0, 1]}", "no column 'x9'"),
    ("+bins.all.window={a: {x1: [0, 1]}}", "bins.all.window: there is no such key; did you mean"),
    ("bins.all.kernel=3", "bins.all.kernel: there is no such key; did you mean kernels"),
    ("bins.all.columns=x1", "bins.all.columns: must be a list, such as [a, b]"),
    ("+bins.new={}", "bins.new.columns: is missing"),
    # As it is written in the shell, without further quotes.
    ("catalog.where=x2!='a'", "catalog.where: column 'x2' holds numbers"),
    ("catalog.where=x1>50", "catalog.where=x1>50: drops all"),
    ("+catalog.columns.x1=2*(y-1)", "catalog.columns.x1: no column 'y'"),
    ("+bins.all.edges={x1: [50, 60]}", "bin 'all[x1 50-60]' holds 0 training samples"),
    ("mesh.samples=99", "mesh.samples=99 x mesh.kernels=1 needs 99 devices, but there are 8"),
    ("mesh.reduction=sum", "mesh.reduction=sum: must be one of reproducible, psum"),
    ("model._target_=nowhere.model", "there is no module nowhere"),
    ("model._target_=kdescent_dist.models.gaussian.gausian", "gaussian"),
    ("model.options={spin: 1}", "spin"),
    ("catalog.path=missing.hdf5 catalog.make=null", "missing.hdf5"),
    ("catalog.path=missing.hdf5", "add catalog.make=null"),
    ("samples.size=null", "samples.size"),
    ("fit.guess_from=nowhere", "fit.guess_from=nowhere: no run directory with a result.json"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[b[0] for b in BAD])
def test_bad_config_is_refused_with_code_2_and_one_message_that_names_it(main, overrides, message):
    many = overrides.split(" ") if "{" not in overrides and "[" not in overrides else [overrides]
    code, err = main(*many)
    complaint = err[err.index("kdescent-dist:") :]
    assert code == 2
    assert message in complaint
    assert "Traceback" not in err
    assert not Path("run/checkpoints").exists()


def exploding(params, key, catalog):
    """A model that is finite at the guess and not finite a few steps on."""
    import jax.numpy as jnp

    from kdescent_dist.models.gaussian import gaussian

    population = gaussian(params, key, catalog)
    factor = jnp.where(params["mean_1"] > 0.2, jnp.nan, 1.0)
    return type(population)({k: v * factor for k, v in population.x.items()})


def test_a_loss_that_is_not_finite_fails_with_code_1_and_keeps_the_last_good_state(main):
    code, err = main(f"model._target_={__name__}.exploding")
    assert code == 1
    assert "is not finite at step" in err
    record = result(Path("run"))
    assert record["status"] == "failed"
    assert record["step"] > 0
    assert (Path("run/checkpoints") / str(record["step"])).is_dir()


@pytest.mark.nightly
def test_a_sweep_runs_one_fit_after_another(main):
    code, err = main(
        "-m",
        "seed=1,2",
        "run_dir=null",
        "report.enabled=false",
        "report.errors=false",
        "fit.steps=5",
    )
    assert code == 0, err
    assert sorted(result(d)["seed"] for d in Path("runs").glob("quickstart-*")) == [1, 2]


def test_a_sweep_goes_on_after_a_job_that_fails_and_tells_the_worst_code(main):
    code, err = main(
        "-m", "fit.steps=0,5", "run_dir=null", "report.enabled=false", "report.errors=false"
    )
    assert code == 2
    assert "fit.steps=0: must be at least 1" in err
    (directory,) = Path("runs").glob("quickstart-*")
    assert result(directory)["status"] == "done"


def test_input_that_failed_its_checks_may_be_corrected_in_the_same_directory(main):
    code, err = main("+bins.all.edges={x1: [50, 60]}")
    assert code == 2, err
    code, err = main("report.enabled=false", "report.errors=false", "fit.steps=3")
    assert code == 0, err


def test_a_changed_model_is_refused(main, tmp_path):
    """A module that was edited would silently give the parameters of its old self."""
    source = "from kdescent_dist.models.gaussian import gaussian\n\n\n"
    source += "def mine(params, key, catalog):\n    return gaussian(params, key, {})\n"
    small = [
        "report.enabled=false",
        "report.errors=false",
        "fit.steps=3",
        "model._target_=edited.mine",
    ]
    (tmp_path / "edited.py").write_text(source.format("catalog"))
    code, err = main(*small)
    assert code == 0, err
    (tmp_path / "edited.py").write_text("# A remark.\n" + source.format("catalog"))
    sys.modules.pop("edited")
    assert main(*small)[0] == 0
    (tmp_path / "edited.py").write_text(source.format("2 * catalog"))
    sys.modules.pop("edited")
    code, err = main(*small)
    assert code == 2
    assert "is of another fit:\n  code.edited: 2:" in err


def test_two_runs_at_once_in_one_directory_are_refused(main):
    Path("run").mkdir()
    with Path("run/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, err = main()
    assert code == 2
    assert "run_dir=run: another process is at work in it" in err


@pytest.mark.nightly
def test_a_job_that_is_started_again_waits_for_the_lock_of_its_lost_node(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        again = start(
            tmp_path, "run_dir=.", "fit.steps=2", "report.enabled=false", "report.errors=false"
        )
        while not (tmp_path / "log.txt").exists():
            assert again.poll() is None, again.communicate()
            time.sleep(0.1)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err


def test_a_run_directory_that_is_a_file_is_named(main):
    Path("run").write_text("")
    code, err = main()
    assert code == 2
    assert "run_dir=run: it cannot be written to" in err


def test_fewer_steps_than_done_are_refused_and_the_record_stays(finished):
    directory, _ = finished
    refused = run(directory.parents[1], "fit.steps=5", f"run_dir={directory}")
    assert refused.returncode == 2
    assert "fit.steps" in refused.stderr
    assert result(directory)["status"] == "done"


def test_help_and_config_are_readable(finished):
    shown, _ = start(finished[0], "--help").communicate(timeout=300)
    assert (
        "experiment: color_mass, galaxy_colors, galaxy_colors_grid, halo_catalog, quickstart"
        in shown
    )
    assert "Exit codes" in shown
    config, _ = start(finished[0], "--cfg", "job").communicate(timeout=300)
    assert "learning_rate: 0.1" in config
    assert "size: 800" in config


def test_the_report_is_drawn_again_on_request(finished):
    directory, _ = finished
    (directory / "report.html").unlink()
    done = run(directory.parents[1], "mode=report", f"run_dir={directory}")
    assert done.returncode == 0, done.stderr
    assert (directory / "report.html").stat().st_size > 10_000
