"""A short set that also runs with the newest JAX (``scripts/test_newest``), by the command line."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.process_groups import PATIENCE, command, environment

pytestmark = pytest.mark.as_shipped

SHORT = [
    "samples.size=800",
    "catalog.make.size=1000",
    "fit.steps=30",
    "fit.finish=none",
    "fit.steps_per_call=10",
    "optimizer.decay_steps=30",
    "report.enabled=false",
    "report.errors=false",
]
# Bins with and without conditional columns, kernels and modes: each leaves some array empty.
MASSES = [
    "experiment=color_mass",
    "+bins.all.columns=[g_r]",
    "bins.all.kernels=5",
    "bins.all.fourier=0",
    "bins.all.pretrain_kernels=50",
    "bins.low_mass.kernels=0",
    "fit.steps=12",
    "fit.finish=none",
]


def fit(folder: Path, *overrides: str) -> dict[str, np.ndarray]:
    """The history of a fit by the command line, which must be done."""
    done = subprocess.run(
        command(folder, *overrides, small=SHORT),
        cwd=folder.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "result.json").read_text())["status"] == "done"
    return dict(np.load(folder / "history.npz"))


@pytest.mark.parametrize(
    "overrides", [["bins.all.fourier=0"], MASSES], ids=["quickstart", "color_mass"]
)
def test_two_devices_give_the_bits_of_one(overrides, tmp_path):
    one = fit(tmp_path / "one", *overrides)
    two = fit(tmp_path / "two", *overrides, "runtime.cpu_devices=2")
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)


def test_a_fit_in_two_parts_gives_the_bits_of_one(tmp_path):
    whole = fit(tmp_path / "whole", "runtime.cpu_devices=2")
    fit(tmp_path / "parts", "runtime.cpu_devices=2", "fit.steps=10")
    parts = fit(tmp_path / "parts", "runtime.cpu_devices=2")
    for name, values in whole.items():
        np.testing.assert_array_equal(values, parts[name], err_msg=name)
