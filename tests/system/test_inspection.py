"""Looking before fitting: what is shown is true, mistakes are told, and a fit goes on from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdescent_dist.config.schema import ReportConfig
from kdescent_dist.report.data.inspection import read_inspection
from kdescent_dist.report.pages.inspection_text import summary
from kdescent_dist.report.pages.inspection_warnings import warnings_of
from support.command_line import run_told
from support.process_groups import Group

pytestmark = pytest.mark.as_shipped

MODEL = """
import jax, jax.numpy as jnp
from kdescent_dist import Population

def line(params, key, catalog):
    noise = params["scatter"] * jax.random.normal(key, catalog["mass"].shape)
    return Population({"color": params["mean"] + catalog["mass"] + noise, "mass": catalog["mass"]})
"""
EXPERIMENT = """
# @package _global_
name: line
model: {_target_: line_model.line}
parameters:
  mean: {guess: 0.2}
  scatter: {guess: 0.3, low: 0.299, high: 1.0}
  unused: {guess: 1.0}
catalog: {path: line.npz, where: mass > 0.1}
input: {columns: [mass]}
samples: {size: 600}
bins:
  grid: &small
    columns: [color]
    edges: {mass: [0.05, 0.1, 0.14, 0.6, 1.0]}
    few_training: drop
    kernels: 8
    fourier: 8
    pretrain_kernels: 60
    pretrain_fourier: 60
    fourier_range_factor: 30
  plane:
    <<: *small
    columns: [color, mass]
    edges: {mass: {number: 1}}
    fourier_range_factor: 0.1
fit: {steps: 3, finish: none}
"""
SETUP = ["--config-dir=conf", "experiment=line"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model of one parameter too many, and a catalog with unmarked values."""
    folder = tmp_path_factory.mktemp("setup")
    (folder / "line_model.py").write_text(MODEL)
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "line.yaml").write_text(EXPERIMENT.lstrip())
    rng = np.random.default_rng(0)
    mass = rng.uniform(0, 1, 2000)
    color = 0.5 + mass + rng.normal(0, 0.4, 2000)
    color[::33] = 5.0  # for a missing value
    np.savez(folder / "line.npz", mass=mass, color=color)
    return folder


def command(folder: Path, *overrides: str) -> tuple[int, str, str]:
    return run_told(*SETUP, *overrides, cwd=folder)


@pytest.fixture(scope="module")
def inspected(folder):
    code, told, err = command(folder, "mode=inspect")
    assert code == 0, err
    (directory,) = (folder / "runs").iterdir()
    return directory, told


def test_the_summary_tells_catalog_bins_cost_and_parameters(inspected):
    directory, told = inspected
    assert "of line.npz; left out" in told
    assert "where is false: mass > 0.1" in told
    assert "bins       4 in 2 groups" in told
    assert "; 1 left out for too few: grid[mass 0.05-0.1]\n" in told
    assert "600 a step, in 8 blocks of 75" in told
    assert "for fit.steps=3, on 1 cpu device" in told
    assert "a device: " in told
    for name in ("mean", "scatter", "unused"):
        assert f"\n  {name} " in told
    assert f"plots: {directory.relative_to(directory.parents[1])}/inspect.html" in told
    assert told.startswith((directory / "inspect" / "summary.txt").read_text())


@pytest.mark.parametrize(
    "warning",
    [
        "the loss does not depend on parameter unused at the guess",
        "catalog: 3% of the rows have color = 5: if that stands for a missing value",
        "1 of 4 bins has fewer than 2 times min_training samples: grid[mass 0.1-0.14]",
        "of the Fourier modes tell nothing, as the data vanish in their noise there: "
        "lower fourier_range_factor=30",
        "bins.plane: the Fourier modes stop where the data have decayed to",
        "the guess is within 1% of a bound for scatter",
    ],
)
def test_mistakes_are_told(inspected, warning):
    assert warning in inspected[1]


def test_every_part_is_drawn(inspected):
    directory, _ = inspected
    drawn = {p.stem for p in (directory / "inspect").glob("*.png")}
    assert drawn == {"catalog", "bins_grid"} | {
        f"{what}_{group}"
        for what in ("kernels", "modes", "guess", "residuals")
        for group in ("grid", "plane")
    }
    page = (directory / "inspect.html").read_text()
    assert page.count("<img") == len(drawn)
    assert "grid[mass 0.14-0.6]" in page


@pytest.mark.nightly
def test_two_processes_show_what_one_does(inspected, folder):
    """On a mesh of four devices; the primary alone prints."""
    small = [*SETUP, "mode=inspect", "runtime.cpu_devices=2", "report.enabled=false"]
    with Group(folder / "shared", 2, cwd=folder, small=small) as group:
        (first, told), (second, other) = group.ends()
    assert (first, second) == (0, 0), (told, other)
    assert "on 4 cpu devices (mesh 4 x 1) of 2 processes" in told
    assert "inspection of" not in other
    one, two = read_inspection(inspected[0]), read_inspection(folder / "shared")
    np.testing.assert_array_equal(one.losses, two.losses)
    for name in one.gradients:
        np.testing.assert_array_equal(one.gradients[name], two.gradients[name])
    assert [b.kde.chisq("guess") for b in one.bins] == [b.kde.chisq("guess") for b in two.bins]
    for which in ("data", "guess", "input"):
        for name, values in one.samples[which].x.items():
            np.testing.assert_array_equal(values, two.samples[which].x[name])


def test_a_loss_without_a_number_and_a_step_without_memory_are_told(inspected):
    found = read_inspection(inspected[0])
    bad = replace(
        found,
        losses=np.array([np.nan, 1.0]),
        gradients={**found.gradients, "mean": np.array([np.inf, 0.0])},
        device_memory=1000,
        facts={**found.facts, "catalog": {"source": "x", "rows": 10, "dropped": {"bad": 90}}},
        samples={**found.samples, "guess": found.samples["guess"]},
        bins=[replace(b, sums={**b.sums, "guess": 0.0}) for b in found.bins],
    )
    told = "\n".join(warnings_of(bad))
    assert "the loss is not finite at the guess" in told
    assert "the gradient is not finite for mean" in told
    assert "90% of the rows are left out, most of them for 'bad'" in told
    assert "4 of 4 bins have no model sample at the guess" in told
    assert "of the memory of a device" in told
    assert any("not finite" in line or "inf" in line for line in summary(bad))


def test_of_many_bins_those_drawn_run_from_the_smallest_to_the_largest(inspected):
    found = read_inspection(inspected[0])
    many = [replace(found.bins[0], number=i + 1, n_training=1000 - i) for i in range(100)]
    config = replace(found.config, report=ReportConfig(max_bins=5))
    shown = replace(found, bins=many, config=config).shown
    assert len(shown) == 5
    assert {1, 100} <= {b.number for b in shown}
    assert [b.number for b in shown] == sorted(b.number for b in shown)


@pytest.mark.nightly
def test_the_run_directory_stays_free_and_a_fit_finds_the_training_counts(inspected, folder):
    """A fit of any config, as nothing was fitted yet; then it is looked at without a change."""
    directory, _ = inspected
    assert not (directory / "config.yaml").exists()
    assert not (directory / "result.json").exists()
    before = {p.name: p.stat().st_mtime_ns for p in (directory / "pretrain").iterdir()}
    small = (f"run_dir={directory}", "loss.weights.fourier=2.0", "report.enabled=false")
    code, _, err = command(folder, *small)
    assert code == 0, err
    assert "catalog: 3% of the rows have color = 5: if that stands for a missing value" in err
    assert {p.name: p.stat().st_mtime_ns for p in (directory / "pretrain").iterdir()} == before
    record = (directory / "result.json").read_text()
    code, told, err = command(folder, *small, "mode=inspect")
    assert code == 0, err
    assert "no plots: report.enabled=false" in told
    assert (directory / "result.json").read_text() == record
    code, _, err = command(folder, *small, "mode=inspect", "seed=3")
    assert code == 2
    assert "config.seed: 0 (default) -> 3" in err
