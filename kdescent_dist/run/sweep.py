"""A fit of a sweep that is a job of its own: how its code reaches SLURM, and who started it."""

import os
import subprocess
import sys
from collections.abc import Mapping

from hydra.core.hydra_config import HydraConfig

from kdescent_dist.config.errors import DONE, PREEMPTED
from kdescent_dist.distributed.launchers.slurm import Slurm


class SweepJobError(Exception):
    """A job of a sweep failed; raised again where the sweep was started.

    Attributes:
        code: exit code of the job.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code

    def __str__(self) -> str:
        return self.args[0]


def is_sweep_job(environment: Mapping[str, str]) -> bool:
    """Whether this process is a job that Hydra's submitit launcher has sent to SLURM."""
    return environment.get("SUBMITIT_EXECUTOR") == "slurm"


def end_sweep_job(code: int) -> None:
    """End the job as its exit code says: return, start it again later, or raise.

    A job that saved itself goes back to the queue, unless it was cancelled, or restarted
    ``hydra.launcher.max_num_timeout`` times before.

    Raises:
        SystemExit: it goes back to the queue, or was cancelled.
        SweepJobError: it failed, or may not be started again.
    """
    if code == DONE:
        return
    if code != PREEMPTED:
        raise SweepJobError(f"a job of the sweep failed with exit code {code}: see its log", code)
    restarts = Slurm().restarts(os.environ)
    limit = HydraConfig.get().launcher.max_num_timeout
    if restarts >= limit:
        raise SweepJobError(
            f"a job of the sweep was restarted {restarts} times "
            f"(hydra.launcher.max_num_timeout={limit}), and is saved: start the sweep again",
            code,
        )
    if Slurm().rank(os.environ) == 0:
        _requeue(_job_id(os.environ))
    sys.exit(PREEMPTED)


def _requeue(job: str) -> None:
    command = ("scontrol", "show", "job", job)
    known = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # What SLURM is ending by now has used up its time, or was cancelled and must stay so.
    if "JobState=RUNNING" in known or "Reason=TimeLimit" in known:
        subprocess.run(("scontrol", "requeue", job), check=True)


def _job_id(environment: Mapping[str, str]) -> str:
    array, task = (environment.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else environment["SLURM_JOB_ID"]
