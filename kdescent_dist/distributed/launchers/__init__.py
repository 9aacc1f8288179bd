"""Launchers start processes together; a new launcher is one file and one line here.

Other packages add a launcher by the entry point ``kdescent_dist.launchers``.
"""

from collections.abc import Mapping

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.registry import Registry
from kdescent_dist.config.schema import RuntimeConfig
from kdescent_dist.distributed.launchers.jax_cluster import JaxCluster
from kdescent_dist.distributed.launchers.launch import Launch, Launcher
from kdescent_dist.distributed.launchers.local import Local
from kdescent_dist.distributed.launchers.mpi import Mpi
from kdescent_dist.distributed.launchers.slurm import Slurm

# In the order in which auto tries them. MPI comes first: in a SLURM job, mpirun starts its daemons
# in a job step, and the processes inherit the variables of SLURM.
LAUNCHERS: Registry[Launcher] = Registry(
    "kdescent_dist.launchers", (Mpi(), Slurm(), JaxCluster(), Local())
)
AUTO = "auto"


def check_launcher(name: str) -> None:
    """Check the value of ``runtime.started_by``.

    Raises:
        InputError: there is no such launcher.
    """
    if name != AUTO:
        LAUNCHERS.find("runtime.started_by", name)


def find_launch(config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
    """Find out what started this process.

    Args:
        config: its ``started_by``, ``coordinator``, ``processes`` and ``process``.
        environment: environment variables.

    Raises:
        InputError: the configured launcher did not start this process, or mpi4py is missing.
    """
    if config.started_by == AUTO:
        return _recognized(environment).launch(config, environment)
    return LAUNCHERS.find("runtime.started_by", config.started_by).launch(config, environment)


def tells(environment: Mapping[str, str]) -> bool:
    """Whether this process reports errors at the start, for all processes started together."""
    return _recognized(environment).rank(environment) == 0


def restarts(environment: Mapping[str, str]) -> int:
    """How many times the job of this process was started before."""
    return max(one.restarts(environment) for one in LAUNCHERS.all)


def own_gpus(launch: Launch, visible: int) -> list[int] | None:
    """The indices of this process's GPUs among the visible GPUs, None for all visible GPUs.

    Args:
        launch: the process.
        visible: number of GPUs visible to the process.

    Raises:
        InputError: there are more processes than GPUs.
    """
    if launch.gpus is not None:
        return list(launch.gpus)
    if visible <= launch.gpus_per_process or launch.local_processes < 2:
        return None  # the process sees its own GPUs only, or is alone on its node
    if visible < launch.local_processes:
        raise InputError(
            f"{launch.local_processes} processes on a node with {visible} GPUs: start one for each "
            "GPU at most, or set runtime.local_devices"
        )
    share = visible // launch.local_processes
    return list(range(launch.local_process * share, (launch.local_process + 1) * share))


def _recognized(environment: Mapping[str, str]) -> Launcher:
    """The first launcher that recognizes the process; launchers of other packages come first."""
    *shipped, last = LAUNCHERS.shipped
    added = LAUNCHERS.all[len(LAUNCHERS.shipped) :]
    tried = (*added, *shipped)
    return next((one for one in tried if one.recognizes(environment)), last)
