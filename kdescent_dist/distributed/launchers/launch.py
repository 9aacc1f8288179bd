"""The interface of launchers, and their description of a process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kdescent_dist.config.schema import RuntimeConfig


@dataclass(frozen=True)
class Launch:
    """A process among the processes that were started together.

    Attributes:
        launcher: name of the launcher.
        process: the number of this process, from 0.
        processes: the number of processes.
        local_process: the number of this process on its node, from 0.
        local_processes: the number of processes on its node.
        coordinator: ``host:port`` of JAX's coordination service, None for a single process.
        gpus: indices of the GPUs of this process; None to let ``own_gpus`` decide.
        gpus_per_process: number of GPUs per process, if the launcher hides a process's GPUs from
            the other processes.
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
    """Recognizes and describes the processes of one way to start them.

    Attributes:
        name: the value of ``runtime.started_by``.
    """

    name: str

    def recognizes(self, environment: Mapping[str, str]) -> bool:
        """Whether this launcher started the process, for ``runtime.started_by=auto``."""
        ...

    def rank(self, environment: Mapping[str, str]) -> int:
        """The number of the process, known before JAX starts; process 0 prints."""
        ...

    def restarts(self, environment: Mapping[str, str]) -> int:
        """How many times the job was restarted."""
        ...

    def launch(self, config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
        """Describe this process.

        Raises:
            InputError: this launcher did not start the process, or a package is missing.
        """
        ...
