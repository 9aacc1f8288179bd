"""Training counts have the same bits on any number of cores; MPI may give a process just one."""

import os
import subprocess
import sys

import pytest

from support import rings

SCRIPT = """
import hashlib, os, sys
import numpy as np

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
from kdescent_dist import KPretrainer

x = np.random.default_rng(5).normal(size=(9000, 2)).astype(np.float32)
pretrained = KPretrainer.from_training_data(x, num_pretrain_kernels=300, method=sys.argv[2])
names = "kde_counts", "kde_err", "fourier_counts", "fourier_err"
print(*[hashlib.sha1(np.asarray(getattr(pretrained, name))).hexdigest() for name in names])
"""


@pytest.mark.as_shipped
@pytest.mark.parametrize("method", ["direct", "finufft"])
def test_training_counts_on_one_core_and_on_two(method):
    if len(os.sched_getaffinity(0)) < 2:
        rings.cannot_run("one core alone: needs two")
    told = []
    for cores in "12":
        command = [sys.executable, "-c", SCRIPT, cores, method]
        environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split())
    assert len(told[0]) == 4
    assert told[0] == told[1]
