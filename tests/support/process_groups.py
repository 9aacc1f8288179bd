"""Real processes that carry out one run together, started by hand on this host."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from support.command_line import run_here
from support.every_rank import quick_compiler

EVERY_RANK = Path(__file__).parent / "every_rank"
SMALL = [
    "samples.size=800",
    "catalog.make.size=1000",
    "loss.kind=mse",
    "bins.all.kernels=8",
    "bins.all.fourier=0",
    "bins.all.pretrain_kernels=60",
    "bins.all.pretrain_fourier=1",
    "fit.steps=400",
    "fit.finish=none",
    "checkpoint.every_seconds=null",
]
RUN = [
    *SMALL,
    "fit.steps_per_call=10",
    "report.enabled=false",
    "report.errors=false",
    "runtime.heartbeat_timeout=4",
]
TWO_DEVICES = "runtime.cpu_devices=2"
PATIENCE = 300  # seconds that anything may take on a busy machine


def shared_cache() -> dict[str, str]:
    """All processes share the programs that were compiled by one, or by that of the same rank."""
    paths = [str(EVERY_RANK), os.environ.get("PYTHONPATH", "")]
    return {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        **quick_compiler.for_processes(),
    }


def environment(**more: str) -> dict[str, str]:
    settings = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **settings, **shared_cache(), **more}


def overrides_of(directory: Path, *overrides: str, small: Sequence[str] = RUN) -> list[str]:
    given = [f"run_dir={directory}", *small, *overrides]
    return sorted(given, key=lambda override: not override.startswith("--"))  # flags go first


def command(directory: Path, *overrides: str, small: Sequence[str] = RUN) -> list[str]:
    given = overrides_of(directory, *overrides, small=small)
    return [sys.executable, "-m", "kdescent_dist.cli", *given]


def alone(
    directory: Path, *overrides: str, cwd: Path, small: Sequence[str] = RUN, devices: int = 1
) -> None:
    """Carry out a run in one process, which is this one, on some of its devices."""
    run_here(*overrides_of(directory, *overrides, small=small), cwd=cwd, devices=devices)


class Group:
    """Processes that were started together, and what they print."""

    def __init__(
        self,
        directory: Path,
        count: int,
        *overrides: str,
        cwd: Path,
        small: Sequence[str] = RUN,
        **env: str,
    ) -> None:
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        meet = [f"runtime.coordinator=127.0.0.1:{port}", f"runtime.processes={count}"]
        self._told = len(self.log())
        meet.append("runtime=local")
        self.processes = [
            subprocess.Popen(
                command(directory, *meet, f"runtime.process={i}", *overrides, small=small),
                cwd=cwd,
                env=environment(**env),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for i in range(count)
        ]

    def log(self) -> str:
        file = self.directory / "log.txt"
        return file.read_text() if file.exists() else ""

    def wait_for(self, pattern: str) -> None:
        """Wait for a line in the log of this start."""
        self.wait(lambda: re.search(pattern, self.log()[self._told :]), pattern)

    def wait_for_steps(self, more: int) -> None:
        before = steps(self.directory)
        self.wait(lambda: steps(self.directory) >= before + more, "steps")

    def wait(self, condition, what: str) -> None:
        for _ in range(20 * PATIENCE):
            if condition():
                return
            assert self.processes[0].poll() is None, (what, self.ends())
            time.sleep(0.05)
        raise TimeoutError(what)

    def ends(self, *which: int) -> list[tuple[int, str]]:
        """Exit codes and output of some of the processes, by default all."""
        found = []
        for i in which or range(len(self.processes)):
            out, _ = self.processes[i].communicate(timeout=PATIENCE)
            found.append((self.processes[i].returncode, out))
        return found

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def steps(directory: Path) -> int:
    file = directory / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def result(directory: Path) -> dict:
    return json.loads((directory / "result.json").read_text())


def assert_same_fit(one: Path, other: Path) -> None:
    """Both runs are done, with the same bits in each of their steps."""
    assert result(one)["status"] == result(other)["status"] == "done"
    with np.load(one / "history.npz") as a, np.load(other / "history.npz") as b:
        assert {name: a[name].tobytes() for name in a} == {name: b[name].tobytes() for name in b}
