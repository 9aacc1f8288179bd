"""What started this process: which one it is of how many, and where they meet."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import RuntimeConfig

LAUNCHERS = ("auto", "local", "slurm", "mpi")

# Ports above those that systems hand out by themselves.
_FIRST_PORT, _PORTS = 61_440, 4_096


@dataclass(frozen=True)
class Launch:
    """One of the processes that were started together.

    Attributes:
        launcher: ``local``, ``slurm`` or ``mpi``.
        process: which one this is.
        processes: how many there are.
        local_process: which one this is of those on its node.
        local_processes: how many are on its node.
        coordinator: ``host:port`` where they meet, None for a process by itself.
    """

    launcher: str
    process: int = 0
    processes: int = 1
    local_process: int = 0
    local_processes: int = 1
    coordinator: str | None = None


def find_launch(config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
    """Find out what started this process.

    Args:
        config: its ``launcher``, ``coordinator``, ``processes`` and ``process``.
        environment: environment variables.

    Raises:
        InputError: what the config names did not start this process, or mpi4py is missing.
    """
    launcher = config.launcher
    if launcher == "auto":
        launcher = _recognized(environment)
    if launcher == "slurm":
        return _slurm(config, environment)
    if launcher == "mpi":
        return _mpi(config)
    given = config.coordinator, config.processes, config.process
    if given == (None, None, None):
        return Launch("local")
    if None in given or config.processes is None or config.process is None:
        raise InputError(
            "runtime.coordinator, runtime.processes and runtime.process: set all three to start "
            "processes by hand, or none of them"
        )
    if not 0 <= config.process < config.processes:
        raise InputError(
            f"runtime.process={config.process}: must be from 0 to {config.processes - 1}"
        )
    return Launch("local", config.process, config.processes, coordinator=config.coordinator)


def tells(environment: Mapping[str, str]) -> bool:
    """Whether this is the process, of those started together, that tells what is wrong at start."""
    rank = {"mpi": "OMPI_COMM_WORLD_RANK", "slurm": "SLURM_PROCID"}.get(_recognized(environment))
    found = environment.get(rank or "") or environment.get("PMI_RANK") or "0"
    return found == "0"


def own_gpus(launch: Launch, environment: Mapping[str, str], visible: int) -> list[int] | None:
    """The GPUs of this process among those that it sees, None for all of them.

    Args:
        launch: the process.
        environment: environment variables.
        visible: how many GPUs it sees.

    Raises:
        InputError: there are more processes than GPUs.
    """
    per_task = environment.get("SLURM_GPUS_PER_TASK", "1").rpartition(":")[2]
    if visible <= int(per_task) or launch.local_processes < 2:
        return None  # it sees no others' GPUs, or there are no others
    if visible < launch.local_processes:
        raise InputError(
            f"{launch.local_processes} processes on a node with {visible} GPUs: start one for each "
            "GPU at most, or set runtime.local_devices"
        )
    share = visible // launch.local_processes
    return list(range(launch.local_process * share, (launch.local_process + 1) * share))


def _recognized(environment: Mapping[str, str]) -> str:
    # Open MPI first: within a job of SLURM its daemons are a step of their own.
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return "mpi"
    step = environment.get("SLURM_PROCID"), environment.get("SLURM_STEP_NUM_TASKS")
    # MPICH and its kin, unless it is srun that speaks their protocol.
    if "PMI_SIZE" in environment:
        ranks = environment.get("PMI_RANK"), environment["PMI_SIZE"]
        if ranks != step:
            return "mpi"
    return "slurm" if None not in step else "local"


def _slurm(config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
    try:
        process, processes = (
            int(environment[name]) for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
        )
        local, node = int(environment["SLURM_LOCALID"]), int(environment["SLURM_NODEID"])
        nodes = _first_host(environment["SLURM_STEP_NODELIST"])
        tasks = _tasks_of(node, environment["SLURM_STEP_TASKS_PER_NODE"])
        job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    except KeyError as error:
        raise InputError(
            f"runtime=slurm: {error.args[0]} is not set: start the program with srun, or with "
            "runtime=local"
        ) from error
    if processes == 1:
        return Launch("slurm")
    alone = environment.get("SLURM_STEP_NUM_NODES") == "1"
    # Two steps of a job, two jobs on a node and a job that is started again have their own ports.
    restart = int(environment.get("SLURM_RESTART_COUNT", "0"))
    port = _FIRST_PORT + (61 * job + 7 * step + 1009 * restart) % _PORTS
    coordinator = config.coordinator or f"{'127.0.0.1' if alone else nodes}:{port}"
    return Launch("slurm", process, processes, local, tasks, coordinator)


def _first_host(nodes: str) -> str:
    """The first host of a list such as ``gpu[03-05,9],login1``."""
    found = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    assert found is not None, nodes
    return "".join(part or "" for part in found.groups())


def _tasks_of(node: int, tasks: str) -> int:
    """Tasks of a node by a list such as ``2(x3),1``."""
    counts: list[int] = []
    for part in tasks.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        assert found is not None, tasks
        counts += [int(found[1])] * int(found[2] or 1)
    return counts[node]


def _mpi(config: RuntimeConfig) -> Launch:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"runtime=mpi: mpi4py cannot be used ({str(error).splitlines()[0]}): install "
            "kdescent-dist[mpi], and the MPI library whose mpirun you use"
        ) from error
    world = MPI.COMM_WORLD
    if world.size == 1:
        return Launch("mpi")
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    coordinator = config.coordinator
    if coordinator is None:
        alone = node.size == world.size
        host = "127.0.0.1" if alone else socket.gethostname()
        coordinator = world.bcast(f"{host}:{_free_port()}" if world.rank == 0 else None)
    return Launch("mpi", world.rank, world.size, node.rank, node.size, coordinator)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
