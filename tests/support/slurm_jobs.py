"""Jobs of the scripts in ``slurm/`` on the test cluster, and their processes."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from kdescent_dist.fitting.checkpoints import latest_step
from support import process_groups
from support.command_line import run_here
from support.process_groups import SMALL, result

# Long enough to be interrupted. The program is the same for any number of steps.
FIT = (
    *SMALL,
    "samples.size=40000",
    "optimizer.learning_rate=0.005",
    "optimizer.schedule=constant",
    "fit.seconds_per_call=0.2",
    "report.enabled=false",
    "report.errors=false",
)
STEPS = 1500
FINITE = (*FIT, f"fit.steps={STEPS}")
# It goes on until something stops it.
ENDLESS = (*FIT, "fit.steps=1000000")

SCRIPTS = Path(__file__).parents[2] / "slurm"


def environment() -> dict[str, str]:
    """The command under test, and compiled programs that all of its processes share."""
    return {
        "KDESCENT_VENV": sys.prefix,
        "PATH": f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}",
    } | process_groups.shared_cache()


class Jobs:
    """Submits a script in a folder, and looks at what its jobs do there."""

    def __init__(self, cluster, folder, **environment):
        self.cluster = cluster
        self.folder = folder
        self.environment = environment

    def submit(self, script, *overrides, options=(), **more):
        options = ("--cpus-per-task=1", *options)
        return self.cluster.sbatch(
            *options,
            SCRIPTS / script,
            *overrides,
            cwd=self.folder,
            env=environment() | self.environment | more,
        )

    def log(self, name):
        path = self.folder / f"kdescent-{name}.log"
        return path.read_text() if path.exists() else ""

    def run_dir(self, name):
        return self.folder / "runs" / f"kdescent-{name}"

    def wait_for_step(self, name, step):
        """Wait until the fit in a run directory has passed a step."""
        path = self.run_dir(name) / "metrics.jsonl"

        def passed():
            lines = path.read_text().splitlines() if path.exists() else []
            return len(lines) > step

        self.cluster.wait(passed, f"step {step} of {name}\n{self.log(name)}", 200)

    def run_log(self, name):
        path = self.run_dir(name) / "log.txt"
        return path.read_text() if path.exists() else ""

    def wait_for_checkpoint(self, name):
        """Wait until the fit in a run directory has saved once more."""
        folder = self.run_dir(name) / "checkpoints"
        before = latest_step(folder) or 0
        saved = lambda: (latest_step(folder) or 0) > before  # noqa: E731
        self.cluster.wait(saved, f"a checkpoint of {name}\n{self.log(name)}", 200)

    def wait_for_restart(self, job, number):
        """Wait until SLURM has put a job back in the queue so many times."""
        restarted = lambda: self.cluster.show(job)["Restarts"] == str(number)  # noqa: E731
        self.cluster.wait(restarted, f"restart {number} of {job}\n{self.log(job)}", 200)

    def wait_for_end(self, job, timeout=300):
        """Wait until a job has ended, and return what SLURM knows of it."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return self.cluster.wait_for_state(job, *ended, timeout=timeout)

    def preempt(self, *options):
        """Take nodes away from the low partition for a moment."""
        command = ("--partition=high", "--output=/dev/null", "--wrap=sleep 1")
        return self.cluster.sbatch(*options, *command, cwd=self.folder)

    def sweep(self, *overrides, launcher="slurm"):
        """Start a sweep whose jobs are sent to the cluster."""
        launcher = (f"hydra/launcher={launcher}", "hydra.launcher.cpus_per_task=1")
        return subprocess.Popen(
            [sys.executable, "-m", "kdescent_dist.cli", "-m", *launcher, *overrides],
            cwd=self.folder,
            env=self.cluster.environment | environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


def fit_alone(path: Path, *overrides: str) -> Path:
    """The run directory of a fit that one process does once, and nothing disturbs."""
    if not path.exists():
        run_here(*overrides, f"run_dir='{path}'", cwd=path.parent)
    return path


def assert_same_fit(run_dir, expected):
    process_groups.assert_same_fit(run_dir, expected)
    assert result(run_dir)["params"] == result(expected)["params"]
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps)), "a step is told twice"


def programs_of(job: str) -> dict[int, int]:
    """Process ids by rank of the program itself, rather than of srun, in a job."""
    found = {}
    own = f"run_dir=runs/kdescent-{job}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended by now
            command = (folder / "cmdline").read_bytes().split(b"\0")
            rank = re.search(rb"\0SLURM_PROCID=(\d+)\0", (folder / "environ").read_bytes())
            if own in command and rank and not command[0].endswith(b"srun"):
                found[int(rank[1])] = int(folder.name)
    return found
