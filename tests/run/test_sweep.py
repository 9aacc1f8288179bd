"""What a sweep does between its fits."""

import subprocess
import sys

PROGRAM = """
import jax
import jax.numpy as jnp
from kdescent_dist.run.sweep import release_programs

def maps():
    return sum(1 for _ in open("/proc/self/maps"))

jnp.ones(2) + 1
release_programs()
before = maps()
kept = [jax.jit(lambda x, i=i: jnp.sort(jnp.sin(x) + i))(jnp.ones(3)) for i in range(20)]
with_programs = maps()
release_programs()
print(before, with_programs, maps())
"""


def test_memory_maps_of_programs_are_given_back():
    """Linux gives 65,530 to a process, which the programs of some 25 fits would take."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, with_programs, after = map(int, done.stdout.split())
    assert with_programs > before + 40
    assert after < before + 20
