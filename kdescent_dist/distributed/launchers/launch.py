"""What a launcher says of a process that it has started."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kdescent_dist.config.schema import RuntimeConfig


@dataclass(frozen=True)
class Launch:
    """One of the processes that were started together.

    Attributes:
        launcher: name of the launcher.
        process: the number of this process, from 0.
        processes: the number of processes.
        local_process: the number of this process on its node, from 0.
        local_processes: the number of processes on its node.
        coordinator: ``host:port`` where the processes meet, None for a process by itself.
        gpus: GPUs of this process where the launcher names them; None: what ``own_gpus`` finds.
        gpus_per_process: GPUs that the launcher gives to each process, and hides from the others.
    """

    launcher: str
    process: int = 0
    processes: int = 1
    local_process: int = 0
    local_processes: int = 1
    coordinator: str | None = None
    gpus: tuple[int, ...] | None = None
    gpus_per_process: int = 1


class Launcher(Protocol):
    """What starts processes together; told by the environment of each process.

    Attributes:
        name: the value of ``runtime.launcher``.
    """

    name: str

    def recognizes(self, environment: Mapping[str, str]) -> bool:
        """Whether this launcher has started the process, for ``runtime.launcher=auto``."""
        ...

    def rank(self, environment: Mapping[str, str]) -> int:
        """The number of the process, before anything has started: process 0 prints."""
        ...

    def restarts(self, environment: Mapping[str, str]) -> int:
        """How many times the job was started before."""
        ...

    def launch(self, config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
        """Find out which process this is.

        Raises:
            InputError: this launcher did not start the process, or lacks a package.
        """
        ...
