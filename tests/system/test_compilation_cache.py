"""A program that was compiled once is not compiled again: neither by a restart nor by a call."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.as_shipped

TINY = [
    "samples.size=800",
    "catalog.make.size=1000",
    "bins.all.kernels=8",
    "bins.all.pretrain_kernels=60",
    "bins.all.pretrain_fourier=1",
    "fit.steps=20",
    "fit.finish=none",
    "report.enabled=false",
    "report.errors=false",
    "runtime.platform=cpu",
    "run_dir=run",
]

SCRIPT = """
import jax

jax.config.update("jax_compilation_cache_dir", "programs")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

import sys
import jax.numpy as jnp
import kdescent_dist as kdescent


def loss(params, randkey):
    return jnp.sum((jax.random.normal(randkey, (1000, 2)).mean(0) - params) ** 2)


steps, seed = map(int, sys.argv[1:])
kdescent.adam(loss, [1.0, 2.0], steps, learning_rate=0.1, randkey=seed, progress=False)
"""


def hits(folder: Path, *command: str) -> list[str]:
    """Run Python, and return the names of the programs that it found in a cache."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"JAX_LOG_COMPILES": "1", "JAX_PLATFORMS": "cpu"}
    command = (sys.executable, *command)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return re.findall("Persistent compilation cache hit for '(.*?)'", done.stderr)


@pytest.mark.parametrize(
    ("first", "second", "cache"),
    [
        pytest.param(
            ("-m", "kdescent_dist.cli", *TINY),
            ("-m", "kdescent_dist.cli", *TINY),
            "run/cache",
            marks=pytest.mark.nightly,
        ),
        (("-c", SCRIPT, "5", "1"), ("-c", SCRIPT, "9", "2"), "programs"),
    ],
    ids=["command line", "script"],
)
def test_a_second_start_does_not_compile_the_steps_again(first, second, cache, tmp_path):
    """In a run directory of its own accord, elsewhere where JAX is given a folder."""
    folder = tmp_path / cache
    assert "jit_run" not in hits(tmp_path, *first)
    assert len(list(folder.glob("jit_run-*"))) == 1
    assert "jit_run" in hits(tmp_path, *second)
    assert len(list(folder.glob("jit_run-*"))) == 1
    assert len(list(folder.iterdir())) < 20
