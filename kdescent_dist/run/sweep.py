"""The end of a fit of a sweep: as a SLURM job by its exit code, or before the next in a process."""

import gc
import os
import subprocess
import sys
from collections.abc import Mapping

import jax
from hydra.core.hydra_config import HydraConfig

from kdescent_dist.config.errors import DONE, PREEMPTED
from kdescent_dist.distributed.launchers.slurm import Slurm

# Fits whose programs a process holds at once. A program for CPUs takes hundreds of memory maps, of
# which Linux gives 65,530 to a process (vm.max_map_count); beyond, the compiler ends the process.
FITS_AT_ONCE = 4


class SweepJobError(Exception):
    """A job of a sweep failed; raised again in the process that started the sweep.

    Attributes:
        code: exit code of the job.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code

    def __str__(self) -> str:
        return self.args[0]


def is_sweep_job(environment: Mapping[str, str]) -> bool:
    """Whether this process is a SLURM job of Hydra's submitit launcher."""
    return environment.get("SUBMITIT_EXECUTOR") == "slurm"


def end_sweep_job(code: int) -> None:
    """End the job by its exit code: return, requeue the job, or raise.

    A preempted job is requeued, unless the job was cancelled or has been restarted
    ``hydra.launcher.max_num_timeout`` times.

    Raises:
        SystemExit: the job is requeued, or was cancelled.
        SweepJobError: the job failed, or has no restarts left.
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


def release_programs() -> None:
    """Give the memory of all compiled programs back; what runs again compiles again."""
    jax.clear_caches()
    gc.collect()


def _requeue(job: str) -> None:
    command = ("scontrol", "show", "job", job)
    known = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # SLURM ends a job at its time limit or after a cancellation; a cancelled job is not requeued.
    if "JobState=RUNNING" in known or "Reason=TimeLimit" in known:
        subprocess.run(("scontrol", "requeue", job), check=True)


def _job_id(environment: Mapping[str, str]) -> str:
    array, task = (environment.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else environment["SLURM_JOB_ID"]
