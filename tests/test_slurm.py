"""The job scripts on a real SLURM of two nodes: preemption, restarts, and when there is none.

A fit by two nodes that is interrupted ends with the bits of one process that is not.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import process_groups
import pytest
from process_groups import result
from slurm_cluster import SlurmCluster

SCRIPTS = Path(__file__).parents[1] / "slurm"
STEPS = 1500
FIT = (
    "experiment=color_mass",
    "samples.size=8000",
    "optimizer.learning_rate=0.005",
    "fit.seconds_per_call=0.2",
    "report.enabled=false",
)
FINITE = (*FIT, f"fit.steps={STEPS}")
# It goes on until something stops it.
ENDLESS = (*FIT, "fit.steps=1000000", "optimizer.schedule=constant")
# The command under test, and compiled programs that all of its processes share.
ENVIRONMENT = {
    "KDESCENT_VENV": sys.prefix,
    "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The run directory of a fit, done by one process that nothing disturbs."""
    folder = tmp_path_factory.mktemp("uninterrupted")

    def fit(*overrides):
        path = folder / "-".join(("fit", *overrides))
        if not path.exists():
            command = [sys.executable, "-m", "kdescent_dist.cli", *FINITE, *overrides]
            subprocess.run(
                [*command, f"run_dir='{path}'", "runtime.cpu_devices=1"],
                check=True,
                capture_output=True,
                env=os.environ | ENVIRONMENT,
            )
        return path

    return fit


class Jobs:
    """Submits a script in a folder, and looks at what its jobs do there."""

    def __init__(self, cluster, folder):
        self.cluster = cluster
        self.folder = folder

    def submit(self, script, *overrides, options=(), **environment):
        options = ("--cpus-per-task=1", *options)
        return self.cluster.sbatch(
            *options,
            SCRIPTS / script,
            *overrides,
            cwd=self.folder,
            env=ENVIRONMENT | environment,
        )

    def log(self, name):
        path = self.folder / f"kdescent-{name}.log"
        return path.read_text() if path.exists() else ""

    def run_dir(self, name):
        return self.folder / "runs" / f"kdescent-{name}"

    def wait_for_step(self, name, step):
        """Wait until the fit in a run directory has passed a step."""
        path = self.run_dir(name) / "metrics.jsonl"

        def passed():
            lines = path.read_text().splitlines() if path.exists() else []
            return len(lines) > step

        self.cluster.wait(passed, f"step {step} of {name}\n{self.log(name)}", 90)

    def wait_for_end(self, job, timeout=120):
        """Wait until a job has ended, and return what SLURM knows of it."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return self.cluster.wait_for_state(job, *ended, timeout=timeout)

    def preempt(self, *options):
        """Take nodes away from the low partition for a moment."""
        command = ("--partition=high", "--output=/dev/null", "--wrap=sleep 1")
        return self.cluster.sbatch(*options, *command, cwd=self.folder)

    def sweep(self, *overrides):
        """Start a sweep whose jobs are sent to the cluster."""
        launcher = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
        return subprocess.Popen(
            [sys.executable, "-m", "kdescent_dist.cli", "-m", *launcher, *overrides],
            cwd=self.folder,
            env=self.cluster.environment | ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def jobs(slurm, tmp_path):
    yield Jobs(slurm, tmp_path)
    slurm.clear()


def assert_same_fit(run_dir, expected):
    process_groups.assert_same_fit(run_dir, expected)
    assert result(run_dir)["params"] == result(expected)["params"]
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps)), "a step is told twice"


def test_a_fit_on_two_nodes_is_preempted_and_ends_as_if_it_were_not(jobs, uninterrupted):
    job = jobs.submit("fit_cpu.sbatch", *FINITE, "checkpoint.every_seconds=null")
    jobs.wait_for_step(job, 20)
    jobs.preempt("--nodes=2")
    jobs.cluster.wait_for_state(job, "PENDING")
    assert result(jobs.run_dir(job))["status"] == "preempted"
    assert 20 < result(jobs.run_dir(job))["step"] < STEPS
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), jobs.log(job)
    assert "code 75" in jobs.log(job)
    assert result(jobs.run_dir(job))["devices"]["processes"] == 2
    assert_same_fit(jobs.run_dir(job), uninterrupted())


def test_a_step_that_is_killed_continues_from_its_last_checkpoint(jobs, uninterrupted):
    job = jobs.submit("fit_cpu.sbatch", *FINITE, "checkpoint.every_steps=100")
    jobs.wait_for_step(job, 150)
    jobs.cluster.run("scancel", "--signal=KILL", f"{job}.0")
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), jobs.log(job)
    assert "code 137" in jobs.log(job)
    assert_same_fit(jobs.run_dir(job), uninterrupted())


def test_an_array_of_three_fits_of_which_one_is_preempted(jobs, uninterrupted):
    array = jobs.submit("fit_array.sbatch", *FINITE, options=["--array=1-3"])
    first = f"{array}/1"
    jobs.wait_for_step(first, 20)
    # The job that preempts takes the node of the first fit.
    node = jobs.cluster.show(f"{array}_1")["NodeList"]
    jobs.preempt("--nodes=1", f"--nodelist={node}")
    jobs.cluster.wait_for_state(f"{array}_1", "PENDING")
    for task, restarts in (("1", "1"), ("2", "0"), ("3", "0")):
        ended = jobs.wait_for_end(f"{array}_{task}")
        assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", restarts)
        assert result(jobs.run_dir(f"{array}/{task}"))["seed"] == int(task)
        assert result(jobs.run_dir(f"{array}/{task}"))["step"] == STEPS
    assert_same_fit(jobs.run_dir(first), uninterrupted("seed=1"))
    assert "code 75" in jobs.log(f"{array}_1")


def test_four_processes_of_two_nodes_give_the_fit_of_one(jobs, uninterrupted):
    """The script for GPUs, on nodes whose GPUs are only counted: so the platform is the CPU."""
    options = ["--ntasks-per-node=2", "--gpus-per-node=2"]
    short = "fit.steps=100"
    job = jobs.submit("fit.sbatch", *FIT, short, "runtime.platform=cpu", options=options)
    assert jobs.wait_for_end(job)["JobState"] == "COMPLETED", jobs.log(job)
    assert result(jobs.run_dir(job))["devices"]["processes"] == 4
    assert_same_fit(jobs.run_dir(job), uninterrupted(short))


def test_a_task_of_an_array_takes_its_line_of_a_file(jobs):
    (jobs.folder / "sweep.txt").write_text("seed=7 optimizer.learning_rate=0.004\nseed=8\n")
    array = jobs.submit(
        "fit_array.sbatch",
        *FIT,
        "fit.steps=3",
        "run_dir=mine",
        options=["--array=1,3"],
        OVERRIDES="sweep.txt",
    )
    assert jobs.wait_for_end(f"{array}_1")["JobState"] == "COMPLETED", jobs.log(f"{array}_1")
    assert result(jobs.folder / "mine/1")["seed"] == 7
    assert "learning_rate: 0.004" in (jobs.folder / "mine/1/config.yaml").read_text()
    assert jobs.wait_for_end(f"{array}_3")["ExitCode"] == "2:0"
    assert "no line 3 in sweep.txt" in jobs.log(f"{array}_3")


def test_a_bad_config_ends_the_job(jobs):
    job = jobs.submit("fit_cpu.sbatch", "fit.steps=many")
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "2:0", "0")
    assert "fit.steps" in jobs.log(job)


def test_a_job_is_restarted_no_more_often_than_it_may(jobs):
    job = jobs.submit("fit_cpu.sbatch", *ENDLESS, options=["--nodes=1"], MAX_RESTARTS="0")
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", "--signal=TERM", job)
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "75:0", "0")
    assert "max_restarts=0: not started again" in jobs.log(job)
    # Nor by SLURM itself, or by hand.
    jobs.cluster.run("scontrol", "requeue", job)
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "1:0")


def programs_of(job):
    """Processes of the program itself, rather than of srun, in a job."""
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended by now
            commands.append(file.read_text().split("\0"))
    own = f"run_dir=runs/kdescent-{job}"
    return [c for c in commands if own in c and not c[0].endswith("srun")]


def test_a_job_that_is_stopped_before_its_program_listens_is_started_again(jobs):
    job = jobs.submit("fit_cpu.sbatch", *FIT, "fit.steps=3", options=["--nodes=1"])
    # Python is there, but still imports what listens.
    jobs.cluster.wait(lambda: programs_of(job), "the program")
    jobs.cluster.run("scancel", "--signal=TERM", job)
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), jobs.log(job)
    assert "code 143" in jobs.log(job)


def test_a_job_that_is_cancelled_stays_cancelled_though_it_saves(jobs):
    job = jobs.submit("fit_cpu.sbatch", *ENDLESS, options=["--nodes=1"])
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", job)
    assert jobs.wait_for_end(job)["JobState"] == "CANCELLED"
    jobs.cluster.wait(lambda: "cancelled: not started again" in jobs.log(job), "the script's end")
    assert jobs.cluster.show(job)["Restarts"] == "0"
    assert result(jobs.run_dir(job))["status"] == "preempted"


def test_a_step_that_is_killed_before_it_saved_anything_is_not_started_again(jobs):
    options = ["--nodes=1"]
    job = jobs.submit("fit_cpu.sbatch", *ENDLESS, options=options)
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", "--signal=KILL", f"{job}.0")
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "137:0", "0")


def test_an_early_signal_to_the_batch_shell_reaches_the_fit(jobs):
    """As --signal=B:USR1@300 asks for."""
    job = jobs.submit("fit_cpu.sbatch", *ENDLESS, options=["--nodes=1"])
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", "--batch", "--signal=USR1", job)
    jobs.cluster.wait(lambda: jobs.cluster.show(job)["Restarts"] == "1", "a restart")
    assert "signal: the step saves and stops" in jobs.log(job)
    assert "code 75" in jobs.log(job)
    assert result(jobs.run_dir(job))["status"] == "preempted"


def test_a_sweep_of_which_one_fit_is_preempted(jobs, uninterrupted):
    sweep = jobs.sweep(
        *FINITE, "seed=1,2", "runtime.cpu_devices=1", "run_dir=runs/kdescent-${seed}"
    )
    jobs.wait_for_step("1", 20)
    (job,) = jobs.cluster.run("squeue", "--noheader", "--format=%F", "--sort=i").split()[:1]
    node = jobs.cluster.show(f"{job}_0")["NodeList"]
    jobs.preempt("--nodes=1", f"--nodelist={node}")
    _, error = sweep.communicate(timeout=150)
    assert sweep.returncode == 0, error
    assert jobs.cluster.show(f"{job}_0")["Restarts"] == "1"
    assert_same_fit(jobs.run_dir("1"), uninterrupted("seed=1"))
    assert result(jobs.run_dir("2"))["status"] == "done"


def test_a_sweep_tells_that_one_of_its_jobs_failed(jobs):
    sweep = jobs.sweep("seed=1,2", "fit.steps=-3")
    _, error = sweep.communicate(timeout=60)
    assert sweep.returncode == 2
    assert "a job of the sweep failed with exit code 2" in error


def test_a_fit_of_a_sweep_is_restarted_no_more_often_than_it_may(jobs):
    limit = "hydra.launcher.max_num_timeout=0"
    sweep = jobs.sweep(*ENDLESS, limit, "seed=1", "run_dir=runs/kdescent-1")
    jobs.wait_for_step("1", 10)
    jobs.cluster.run("scancel", "--signal=TERM", "--user=root")
    _, error = sweep.communicate(timeout=60)
    assert sweep.returncode == 75
    assert limit in error
    assert result(jobs.run_dir("1"))["status"] == "preempted"


def test_the_cluster_leaves_no_process_behind(slurm):
    with SlurmCluster() as other:
        other.sbatch("--nodes=2", "--output=/dev/null", "--wrap=srun sleep 100")
        other.wait(lambda: "sleep" in [name for _, name in other.processes()], "the job")
    assert other.processes() == []
    assert not other.folder.exists()
