"""A single process, or processes started by hand."""

from collections.abc import Mapping

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import RuntimeConfig
from kdescent_dist.distributed.launchers.launch import Launch


class Local:
    """Recognizes every process, and is therefore the last launcher."""

    name = "local"

    def recognizes(self, environment: Mapping[str, str]) -> bool:
        return True

    def rank(self, environment: Mapping[str, str]) -> int:
        return 0

    def restarts(self, environment: Mapping[str, str]) -> int:
        return 0

    def launch(self, config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
        given = config.coordinator, config.processes, config.process
        if given == (None, None, None):
            return Launch("local")
        if None in given or config.processes is None or config.process is None:
            raise InputError(
                "runtime.coordinator, runtime.processes and runtime.process: set all three to "
                "start processes by hand, or none of them"
            )
        if not 0 <= config.process < config.processes:
            raise InputError(
                f"runtime.process={config.process}: must be from 0 to {config.processes - 1}"
            )
        return Launch("local", config.process, config.processes, coordinator=config.coordinator)
