"""Processes started by ``srun``."""

import re
from collections.abc import Mapping

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import RuntimeConfig
from kdescent_dist.distributed.launchers.launch import Launch

# Ports above the range that Linux assigns by default (32768 to 60999).
_FIRST_PORT, _PORTS = 61_440, 4_096


class Slurm:
    """Job steps of SLURM."""

    name = "slurm"

    def recognizes(self, environment: Mapping[str, str]) -> bool:
        return "SLURM_PROCID" in environment and "SLURM_STEP_NUM_TASKS" in environment

    def rank(self, environment: Mapping[str, str]) -> int:
        return int(environment.get("SLURM_PROCID", "0"))

    def restarts(self, environment: Mapping[str, str]) -> int:
        return int(environment.get("SLURM_RESTART_COUNT", "0"))

    def launch(self, config: RuntimeConfig, environment: Mapping[str, str]) -> Launch:
        try:
            process, processes, local, node, job, step = (
                _number(name, environment)
                for name in (
                    "SLURM_PROCID",
                    "SLURM_STEP_NUM_TASKS",
                    "SLURM_LOCALID",
                    "SLURM_NODEID",
                    "SLURM_JOB_ID",
                    "SLURM_STEP_ID",
                )
            )
            nodes = environment["SLURM_STEP_NODELIST"]
            tasks = _tasks_of(node, environment["SLURM_STEP_TASKS_PER_NODE"])
        except KeyError as error:
            raise InputError(
                f"runtime=slurm: {error.args[0]} is not set: start the program with srun, or with "
                "runtime=local"
            ) from error
        if processes == 1:
            return Launch("slurm")
        alone = environment.get("SLURM_STEP_NUM_NODES") == "1"
        # Steps of a job, jobs on one node and restarts of a job get different ports.
        restarts = self.restarts(environment)
        port = _FIRST_PORT + (61 * job + 7 * step + 1009 * restarts) % _PORTS
        host = "127.0.0.1" if alone else _first_host(nodes)
        coordinator = config.coordinator or f"{host}:{port}"
        # Such as 2 or a100:2; with "none", each process sees all GPUs of the step.
        gpus = environment.get("SLURM_GPUS_PER_TASK", "1").rpartition(":")[2]
        per_process = int(gpus) if gpus.isdigit() else 1
        return Launch(
            "slurm", process, processes, local, tasks, coordinator, gpus_per_process=per_process
        )


def _number(name: str, environment: Mapping[str, str]) -> int:
    text = environment[name]
    if not text.isdigit():
        raise InputError(
            f"runtime=slurm: {name}={text} is not a number: start the program with srun, or with "
            "runtime=local"
        )
    return int(text)


def _first_host(nodes: str) -> str:
    """The first host of a list such as ``gpu[03-05,9],login1`` or ``rack[1-2]n[3-4]``."""
    host, depth = "", 0
    for letter in nodes:
        if letter == "," and not depth:
            break
        depth += (letter == "[") - (letter == "]")
        host += letter
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", host)


def _tasks_of(node: int, tasks: str) -> int:
    """The number of tasks on a node, from a list such as ``2(x3),1``."""
    counts: list[int] = []
    for part in tasks.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        assert found is not None, tasks
        counts += [int(found[1])] * int(found[2] or 1)
    return counts[node]
