"""Single processes of a job are signaled, killed and stopped on a real SLURM, or raise an error."""

import os
import signal
import time

import pytest

from support.process_groups import result
from support.slurm_jobs import FINITE, FIT, assert_same_fit, environment, programs_of

pytestmark = pytest.mark.as_shipped

HEARTBEAT_S = 4

HALOS = """
import os
import jax
from kdescent_dist.models.gaussian import gaussian

def model(params, key, size):
    in_fit = jax.sharding.get_abstract_mesh().manual_axes  # no mesh where the model is checked
    if jax.process_index() == 1 and in_fit and os.path.exists("raise"):
        raise ValueError("no such halo")
    return gaussian(params, key, size)
"""


def test_a_rank_that_is_signaled_killed_stopped_or_raises_ends_the_others(jobs, uninterrupted):
    """One job: it goes on after a signal to the rank that does not write, and after a lost rank.

    It does not where a rank fails.
    """
    (jobs.folder / "halos.py").write_text(HALOS)
    fit = (*FINITE, "model._target_=halos.model", "checkpoint.every_steps=100")
    fit = (*fit, f"runtime.heartbeat_timeout={HEARTBEAT_S}")
    job = jobs.submit("fit_cpu.sbatch", *fit, SLURM_WAIT=str(HEARTBEAT_S + 4))
    run_dir = jobs.run_dir(job)
    jobs.wait_for_checkpoint(job)
    os.kill(programs_of(job)[1], signal.SIGTERM)
    jobs.wait_for_restart(job, 1)
    assert result(run_dir)["status"] == "preempted"
    assert jobs.log(job).count("the step ended with code 75") == 1
    for restarts, (rank, number) in enumerate([(0, signal.SIGKILL), (1, signal.SIGSTOP)], 1):
        jobs.wait_for_checkpoint(job)
        programs = programs_of(job)
        os.kill(programs[rank], number)
        begun = time.monotonic()
        jobs.cluster.wait(lambda p=programs, r=rank: _ended(p[1 - r]), "the end of the other")
        assert time.monotonic() - begun < 2 * HEARTBEAT_S
        jobs.cluster.wait(lambda p=programs, r=rank: _ended(p[r]), "the end of the rank")
        assert result(run_dir)["status"] == "failed"
        assert f"process {rank} of 2 was lost" in result(run_dir)["message"]
        lost = f"process {rank} of 2 was lost"
        assert jobs.run_log(job).split("run directory: ")[-1].count(lost) == 1
        if number == signal.SIGSTOP:
            (jobs.folder / "raise").touch()
        jobs.wait_for_restart(job, restarts + 1)
    ended = jobs.wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "1:0", "3")
    assert jobs.log(job).count("the step ended with code 137") == 2
    assert "process 1 of 2 failed: ValueError: no such halo" in result(run_dir)["message"]
    assert programs_of(job) == {}
    (jobs.folder / "raise").unlink()
    again = jobs.submit("fit_cpu.sbatch", *fit, f"run_dir=runs/kdescent-{job}")
    assert jobs.wait_for_end(again)["JobState"] == "COMPLETED", jobs.log(again)
    assert_same_fit(run_dir, uninterrupted())


def _ended(pid):
    return not os.path.exists(f"/proc/{pid}")


def test_two_steps_of_a_job_run_on_one_node_at_the_same_time(jobs, uninterrupted):
    """Each is a run of two processes."""
    short = "fit.steps=100"
    step = "srun --exact --ntasks=2 --cpus-per-task=1 kdescent-dist runtime.cpu_devices=1"
    steps = [f"{step} {' '.join((*FIT, short))} run_dir=runs/{name}" for name in "ab"]
    script = f"#!/bin/bash\n{steps[0]} & {steps[1]} & wait -n && wait -n\n"
    (jobs.folder / "two.sh").write_text(script)
    job = jobs.cluster.sbatch(
        "--nodes=1",
        "--ntasks=4",
        "--output=two.log",
        "two.sh",
        cwd=jobs.folder,
        env=environment(),
    )
    log = jobs.folder / "two.log"
    assert jobs.wait_for_end(job)["JobState"] == "COMPLETED", log.read_text()
    first, second = (result(jobs.folder / "runs" / name) for name in "ab")
    for run in (first, second):
        assert run["devices"]["processes"] == 2
    assert first["last_start"] < second["last_start"] + second["wall_s"]
    assert second["last_start"] < first["last_start"] + first["wall_s"]
    for name in "ab":
        assert_same_fit(jobs.folder / "runs" / name, uninterrupted(short))
