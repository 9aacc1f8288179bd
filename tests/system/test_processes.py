"""Several real processes carry out one run: they share the rows, and give the same bits."""

import h5py
import numpy as np
import pytest

from support.process_groups import Group, alone, assert_same_fit, result

pytestmark = pytest.mark.as_shipped


HALOS = """
import jax
from kdescent_dist import Population

def model(params, key, catalog):
    noise = params["scatter"] * jax.random.normal(key, catalog["mass"].shape)
    return Population({"color": params["mean"] + catalog["mass"] + noise, "mass": catalog["mass"]})
"""
FROM_A_FILE = """
# @package _global_
name: halos
model: {_target_: halo_model.model}
parameters: {mean: {guess: 0.0}, scatter: {guess: 1.0, low: 0.01}}
catalog: {path: galaxies.npz}
input:
  columns: [mass]
  catalog: {path: halos.h5, where: mass > 0.3, weights: w}
samples: {size: 9000, block_size: 4500}
bins: {by_mass: {columns: [color], edges: {mass: [0.3, 0.5, 0.7, 1.0]}, pretrain_kernels: 50}}
counts: {bins: sparse, pretrain_block_size: 300}
fit: {steps: 30, finish: none}
report: {enabled: false, errors: false}
"""


@pytest.fixture(scope="module")
def halos(folder):
    """Overrides of a fit to a file, of halos in another; most that count are in one part of it."""
    rng = np.random.default_rng(0)
    mass = np.sort(rng.uniform(size=20_000))
    np.savez(folder / "galaxies.npz", mass=mass[::10], color=mass[::10] + rng.normal(size=2_000))
    with h5py.File(folder / "halos.h5", "w") as file:
        file["mass"], file["w"] = mass, rng.uniform(size=len(mass))
    (folder / "halo_model.py").write_text(HALOS)
    (folder / "experiment").mkdir()
    (folder / "experiment" / "halos.yaml").write_text(FROM_A_FILE)
    return [f"--config-dir={folder}", "experiment=halos"]


def test_processes_share_the_rows_of_an_input_catalog(folder, halos):
    """Of the model's input, one process has no block."""
    one, three = folder / "one", folder / "three"
    alone(one, *halos, cwd=folder, small=[])
    with Group(three, 3, *halos, cwd=folder, small=[]) as group:
        ends = group.ends()
    assert [code for code, _ in ends] == [0, 0, 0], ends
    assert_same_fit(one, three)
    assert result(one)["input_catalog"] == result(three)["input_catalog"]
    alone(three, *halos, cwd=folder, small=[])  # or else it would be refused


@pytest.mark.nightly
def test_processes_share_the_rows_of_the_training_catalog(folder, halos):
    """Also where it is the model's input, and in what the report shows."""
    given = [*halos, "input.catalog=null", "samples.size=null", "samples.block_size=200"]
    given += ["counts.bins=dense"]
    given += ["report.enabled=true", "report.errors=true", "report.samples=500", "fit.steps=5"]
    one, two = folder / "shown-by-one", folder / "shown-by-two"
    alone(one, *given, cwd=folder, small=[])
    with Group(two, 2, *given, cwd=folder, small=[]) as group:
        ends = group.ends()
    assert [code for code, _ in ends] == [0, 0], ends
    assert_same_fit(one, two)
    with np.load(one / "diagnostics.npz") as a, np.load(two / "diagnostics.npz") as b:
        assert a.files == b.files
        for name in set(a.files) - {"bins"}:  # sums of the model are added up in turns of devices
            rtol = 0 if "data" in name or "truth" in name else 1e-6
            np.testing.assert_allclose(a[name], b[name], rtol=rtol, err_msg=name)
    assert result(two)["errors"] == pytest.approx(result(one)["errors"], rel=1e-6)
    assert all(0 < error < 1 for error in result(one)["errors"].values())
    note = "noise of the training catalog and of the input catalog, which is the same"
    assert result(two)["errors_note"] == note
    assert (two / "report.html").exists()
