"""The job scripts on a real SLURM of two nodes: preemption, restarts, and when there is none.

What a script does around a fit is tested with a stub in its place, which obeys the same codes and
signals. Two fits by several processes and a sweep are real: they end with the bits of one process
that nothing interrupts.
"""

import json
import signal

import pytest

from kdescent_dist.config import errors
from kdescent_dist.distributed.signals import StopSignals
from support import stub_fit
from support.command_line import run_here
from support.process_groups import SMALL, result
from support.slurm_cluster import SlurmCluster
from support.slurm_jobs import (
    ENDLESS,
    FINITE,
    FIT,
    STEPS,
    assert_same_fit,
    programs_of,
)

pytestmark = pytest.mark.as_shipped

LONG = "fit.steps=1000000"  # of the stub, until something stops it


def steps_told(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_fit_on_two_nodes_is_preempted_and_ends_as_if_it_were_not(jobs, uninterrupted):
    job = jobs.submit("fit_cpu.sbatch", *FINITE)
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


@pytest.mark.nightly
def test_four_processes_of_two_nodes_give_the_fit_of_one(jobs, uninterrupted):
    """The script for GPUs, on nodes whose GPUs are only counted: so the platform is the CPU."""
    options = ["--ntasks-per-node=2", "--gpus-per-node=2"]
    short = "fit.steps=100"
    job = jobs.submit("fit.sbatch", *FIT, short, "runtime.platform=cpu", options=options)
    assert jobs.wait_for_end(job)["JobState"] == "COMPLETED", jobs.log(job)
    assert result(jobs.run_dir(job))["devices"]["processes"] == 4
    assert_same_fit(jobs.run_dir(job), uninterrupted(short))


def test_the_stub_has_the_codes_and_signals_of_the_command():
    names = ("DONE", "FAILED", "BAD_INPUT", "LOST", "PREEMPTED")
    codes = {name: getattr(stub_fit, name) for name in names}
    assert codes == {name: getattr(errors, name) for name in names}
    assert set(stub_fit.STOPPING) == set(StopSignals.NUMBERS)


def test_a_step_that_is_killed_continues_from_its_last_checkpoint(stub_jobs):
    jobs = stub_jobs
    job = jobs.submit("fit_cpu.sbatch", "fit.steps=200", "checkpoint.every_steps=50")
    jobs.wait_for_step(job, 75)
    jobs.cluster.run("scancel", "--signal=KILL", f"{job}.0")
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), jobs.log(job)
    assert "code 137" in jobs.log(job)
    assert f"in {jobs.run_dir(job).relative_to(jobs.folder)}, step " in jobs.log(job)
    assert result(jobs.run_dir(job))["began"] in (50, 100, 150)
    assert result(jobs.run_dir(job))["devices"]["processes"] == 2
    assert steps_told(jobs.run_dir(job)) == list(range(200))


def test_an_array_of_three_fits_of_which_one_is_preempted(stub_jobs):
    jobs, steps = stub_jobs, 300
    array = jobs.submit("fit_array.sbatch", f"fit.steps={steps}", options=["--array=1-3"])
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
        assert result(jobs.run_dir(f"{array}/{task}"))["step"] == steps
    assert result(jobs.run_dir(first))["began"] > 20
    assert steps_told(jobs.run_dir(first)) == list(range(steps))
    assert "code 75" in jobs.log(f"{array}_1")


def test_a_task_of_an_array_takes_its_line_of_a_file(stub_jobs):
    jobs = stub_jobs
    (jobs.folder / "sweep.txt").write_text("seed=7 optimizer.learning_rate=0.004\nseed=8\n")
    array = jobs.submit(
        "fit_array.sbatch",
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


@pytest.mark.nightly
def test_tasks_of_an_array_share_a_coverage(jobs):
    run = jobs.folder / "runs/covered"
    run_here(*SMALL, "report.enabled=false", f"run_dir={run}", cwd=jobs.folder)
    array = jobs.submit(
        "coverage_array.sbatch",
        "run_dir=runs/covered",
        "coverage.repeats=3",
        "report.enabled=false",
        options=["--array=1-2"],
    )
    for task in (1, 2):
        ended = jobs.wait_for_end(f"{array}_{task}")
        assert ended["JobState"] == "COMPLETED", jobs.log(f"coverage-{array}_{task}")
    assert json.loads((run / "coverage.json").read_text())["fits"] == 3
    assert result(run)["status"] == "done"


def test_a_bad_config_ends_the_job(stub_jobs):
    jobs = stub_jobs
    job = jobs.submit("fit_cpu.sbatch", "fit.steps=many")
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "2:0", "0")
    assert "fit.steps" in jobs.log(job)


@pytest.mark.parametrize(
    ("how", "code", "restarts"),
    [("1", 1, 0), ("1+saved", 1, 0), ("130+saved", 130, 0), ("69", 69, 0), ("69+saved", 0, 1)],
)
def test_how_a_step_ends_decides_whether_its_job_is_started_again(stub_jobs, how, code, restarts):
    """A process that was lost is worth it where a checkpoint was saved; no failure is."""
    jobs = stub_jobs
    more = {stub_fit.ENDS_WITH: how}
    job = jobs.submit("fit_cpu.sbatch", "fit.steps=9", options=["--nodes=1"], **more)
    ended = jobs.wait_for_end(job)
    state = "FAILED" if code else "COMPLETED"
    found = (ended["JobState"], ended["ExitCode"], ended["Restarts"])
    assert found == (state, f"{code}:0", str(restarts)), jobs.log(job)


def test_a_job_is_restarted_no_more_often_than_it_may(stub_jobs):
    jobs = stub_jobs
    job = jobs.submit("fit_cpu.sbatch", LONG, options=["--nodes=1"], MAX_RESTARTS="0")
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", "--signal=TERM", job)
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "75:0", "0")
    assert "max_restarts=0: not started again" in jobs.log(job)
    # Nor by SLURM itself, or by hand.
    jobs.cluster.run("scontrol", "requeue", job)
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "1:0")


def test_a_job_that_is_stopped_before_its_program_listens_is_started_again(stub_jobs):
    jobs = stub_jobs
    more = {stub_fit.IMPORTS: "60"}
    job = jobs.submit("fit_cpu.sbatch", "fit.steps=3", options=["--nodes=1"], **more)
    # Python is there, but still imports what listens.
    jobs.cluster.wait(lambda: programs_of(job), "the program")
    jobs.cluster.run("scancel", "--signal=TERM", job)
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), jobs.log(job)
    assert "code 143" in jobs.log(job)


def test_a_job_that_is_cancelled_stays_cancelled_though_it_saves(stub_jobs):
    jobs = stub_jobs
    job = jobs.submit("fit_cpu.sbatch", LONG, options=["--nodes=1"])
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", job)
    assert jobs.wait_for_end(job)["JobState"] == "CANCELLED"
    jobs.cluster.wait(lambda: "cancelled: not started again" in jobs.log(job), "the script's end")
    assert jobs.cluster.show(job)["Restarts"] == "0"
    assert result(jobs.run_dir(job))["status"] == "preempted"


def test_a_step_that_is_killed_before_it_saved_anything_is_not_started_again(stub_jobs):
    jobs = stub_jobs
    job = jobs.submit("fit_cpu.sbatch", LONG, options=["--nodes=1"])
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", "--signal=KILL", f"{job}.0")
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "137:0", "0")


def test_an_early_signal_to_the_batch_shell_reaches_the_fit(stub_jobs):
    """As --signal=B:USR1@300 asks for."""
    jobs = stub_jobs
    job = jobs.submit("fit_cpu.sbatch", LONG, options=["--nodes=1"])
    jobs.wait_for_step(job, 10)
    jobs.cluster.run("scancel", "--batch", "--signal=USR1", job)
    jobs.cluster.wait(lambda: jobs.cluster.show(job)["Restarts"] == "1", "a restart")
    assert "signal: the step saves and stops" in jobs.log(job)
    assert "code 75" in jobs.log(job)
    stopped = result(jobs.run_dir(job))
    assert (stopped["status"], stopped["signal"]) == ("preempted", signal.SIGUSR1)


@pytest.mark.nightly
def test_a_sweep_of_which_one_fit_is_preempted(jobs, uninterrupted):
    """By the plugin's own name of its launcher, which means the same."""
    given = (*FINITE, "seed=1,2", "runtime.cpu_devices=1", "run_dir=runs/kdescent-${seed}")
    sweep = jobs.sweep(*given, launcher="submitit_slurm")
    jobs.wait_for_step("1", 20)
    (job,) = jobs.cluster.run("squeue", "--noheader", "--format=%F", "--sort=i").split()[:1]
    node = jobs.cluster.show(f"{job}_0")["NodeList"]
    jobs.preempt("--nodes=1", f"--nodelist={node}")
    _, error = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, error
    assert jobs.cluster.show(f"{job}_0")["Restarts"] == "1"
    assert_same_fit(jobs.run_dir("1"), uninterrupted("seed=1"))
    assert result(jobs.run_dir("2"))["status"] == "done"


@pytest.mark.nightly
def test_a_sweep_tells_that_one_of_its_jobs_failed(jobs):
    sweep = jobs.sweep("seed=1,2", "fit.steps=-3")
    _, error = sweep.communicate(timeout=300)
    assert sweep.returncode == 2
    assert "a job of the sweep failed with exit code 2" in error


@pytest.mark.nightly
def test_a_fit_of_a_sweep_is_restarted_no_more_often_than_it_may(jobs):
    limit = "hydra.launcher.max_num_timeout=0"
    sweep = jobs.sweep(*ENDLESS, limit, "seed=1", "run_dir=runs/kdescent-1")
    jobs.wait_for_step("1", 10)
    jobs.cluster.run("scancel", "--signal=TERM", "--user=root")
    _, error = sweep.communicate(timeout=300)
    assert sweep.returncode == 75
    assert limit in error
    assert result(jobs.run_dir("1"))["status"] == "preempted"


def test_the_cluster_leaves_no_process_behind(slurm):
    with SlurmCluster() as other:
        other.sbatch("--nodes=2", "--output=/dev/null", "--wrap=srun sleep 100")
        other.wait(lambda: "sleep" in [name for _, name in other.processes()], "the job")
    assert other.processes() == []
    assert not other.folder.exists()
