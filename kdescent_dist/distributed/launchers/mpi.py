"""Processes started by ``mpirun`` of Open MPI, of MPICH or of a library derived from MPICH."""

import socket
from collections.abc import Mapping

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import RuntimeConfig
from kdescent_dist.distributed.launchers.launch import Launch


class Mpi:
    """Processes of MPI, described by mpi4py; srun with the protocol PMI does not count."""

    name = "mpi"

    def recognizes(self, environment: Mapping[str, str]) -> bool:
        if "OMPI_COMM_WORLD_SIZE" in environment:
            return True
        if "PMI_SIZE" not in environment:
            return False
        step = environment.get("SLURM_PROCID"), environment.get("SLURM_STEP_NUM_TASKS")
        return (environment.get("PMI_RANK"), environment["PMI_SIZE"]) != step

    def rank(self, environment: Mapping[str, str]) -> int:
        rank = environment.get("OMPI_COMM_WORLD_RANK") or environment.get("PMI_RANK")
        return int(rank or 0)

    def restarts(self, environment: Mapping[str, str]) -> int:
        return 0

    def launch(self, config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
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
