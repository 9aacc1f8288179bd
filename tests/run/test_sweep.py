"""What a sweep does between its fits."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = """
import jax.numpy as jnp
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.run.sweep import release_programs
from support import problems

def maps():
    return sum(1 for _ in open("/proc/self/maps"))

jnp.ones(2) + 1
before = maps()
problems.fitted(make_mesh(1, 1), 0)
of_fit = maps()
release_programs()
print(before, of_fit, maps())
"""


def test_memory_maps_of_the_programs_of_a_fit_are_given_back():
    """Linux gives 65,530 to a process, which the programs of some 25 whole fits take."""
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, cwd=TESTS, capture_output=True, text=True, check=True)
    before, of_fit, after = map(int, done.stdout.split())
    assert of_fit > before + 300
    assert after < before + 0.4 * (of_fit - before)
