"""What a job script takes for progress: whatever a later start goes on from."""

import os
import subprocess
from pathlib import Path

import pytest

COMMON = Path(__file__).parents[2] / "slurm/common.sh"


def saved(run_dir):
    program = f"set -euo pipefail; SLURM_JOB_ID=1; source '{COMMON}'; run_dir='{run_dir}'; saved"
    done = subprocess.run(["bash", "-c", program], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize(
    "file",
    [
        "checkpoints/20/state",
        "checkpoints/finish.json",
        "phases/starts/0003.json",
        "phases/coverage/0000.json",
        "posterior/chain-0.npz",
    ],
)
def test_what_is_saved_counts(tmp_path, file):
    before = saved(tmp_path)
    assert saved(tmp_path) == before
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.with_name(".of_a_write").touch()
    if not file.endswith("state"):
        assert saved(tmp_path) == before
    path.touch()
    after = saved(tmp_path)
    assert after != before
    if file.startswith("posterior"):  # which is written again
        os.utime(path, (1e9, 1e9))
        assert saved(tmp_path) != after
