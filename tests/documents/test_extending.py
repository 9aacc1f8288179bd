"""The recipes of docs/extending.md, installed as another package, in one run on 1 and 4 devices."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kdescent_dist.config import registry
from kdescent_dist.models.gaussian import training_catalog
from support.command_line import run_told

RECIPES = Path(__file__).parents[2] / "docs" / "extending.md"
# Headings of the recipes: group, name of the entry point, and the object in the recipe.
ADDED = {
    "A reader": ("readers", "words", "Words"),
    "A report panel": ("panels", "losses", "PANEL"),
    "A prior": ("priors", "exponential", "Exponential"),
    "A schedule": ("schedules", "steps", "steps"),
    "An optimizer": ("optimizers", "heavy_ball", "heavy_ball"),
    "A statistic": ("statistics", "histogram", "histogram"),
    "A launcher": ("launchers", "flux", "flux"),
}


def recipes():
    parts = re.split(r"^## ", RECIPES.read_text(), flags=re.M)[1:]
    blocks = {
        part.splitlines()[0]: re.findall(r"```python\n(.*?)```", part, re.S) for part in parts
    }
    return {heading: block for heading, (block,) in blocks.items()}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with all recipes, each a module of its own."""
    site = tmp_path / "site"
    info = site / "recipes-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: recipes\nVersion: 1.0\n")
    points = []
    for heading, code in recipes().items():
        group, name, thing = ADDED[heading]
        (site / f"recipe_{group}.py").write_text(code)
        points.append(f"[kdescent_dist.{group}]\n{name} = recipe_{group}:{thing}\n")
    (info / "entry_points.txt").write_text("\n".join(points))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("FLUX_TASK_RANK", "0")
    monkeypatch.setenv("FLUX_JOB_SIZE", "1")
    registry.entries.cache_clear()
    yield site
    registry.entries.cache_clear()


def test_there_is_a_recipe_for_each_registry():
    assert recipes().keys() == ADDED.keys()


def test_each_recipe_of_another_package_takes_part_in_a_fit(tmp_path, installed):
    truth = {"mean_1": 1.6, "mean_2": 2.9, "variance_1": 0.8, "variance_2": 1.25}
    table = training_catalog(truth | {"correlation": 0.0}, 400, 1)
    rows = np.stack([table["x1"], table["x2"]], axis=1)
    np.savetxt(tmp_path / "table.words", rows, header="x1 x2", comments="")
    given = [
        "catalog.make=null",
        "catalog.path=table.words",
        "samples.size=200",
        "loss.kind=mse",  # the same bits, also of programs that are compiled quickly
        "bins.all.kernels=5",
        "bins.all.fourier=0",
        "bins.all.pretrain_kernels=20",
        "optimizer.name=heavy_ball",
        "optimizer.schedule=steps",
        "+optimizer.schedule_options={every: 4}",
        "fit.steps=6",
        "fit.finish=none",
        "report.errors=false",
        "runtime.progress=false",
    ]
    losses = []
    for devices in (1, 4):
        run_dir = tmp_path / f"run{devices}"
        told = [*given, f"run_dir={run_dir}", f"report.enabled={devices == 4}"]
        code, _, err = run_told(*told, cwd=tmp_path, devices=devices)
        assert code == 0, err
        result = json.loads((run_dir / "result.json").read_text())
        assert result["catalog"]["rows"] == 400
        losses.append(np.load(run_dir / "history.npz")["loss"])
    assert losses[0].tobytes() == losses[1].tobytes()
    page = (run_dir / "report.html").read_text()
    assert "A long tail is a fit that has jumped." in page
    assert (run_dir / "plots" / "losses.png").is_file()


MODEL = """
import jax, jax.numpy as jnp
from kdescent_dist.models.population import Population

def model(params, key, size):
    x, y = jax.random.uniform(key, (2, size))
    weights = params["number"] * 10_000 / 24_000 * (1 + params["slope"] * (x - 0.5))
    return Population({"x": x, "y": y}, weights)
"""

CELLS = """
# @package _global_
name: cells
model: {_target_: my_model.model}
parameters:
  number: {guess: 0.9, low: 0.1, high: 2}
  slope: {guess: 0.3, low: -1.5, high: 1.5}
samples: {size: 24000}
bins:
  cells:
    columns: [x, y]
    kernels: 0
    fourier: 0
    normalization: counts
    statistics: {histogram: {table: cells.npz}}
loss: {kind: chisq, model_errors: false}
optimizer: {learning_rate: 0.05, schedule: exponential, decay_steps: 60}
""".lstrip()


def write_cells(file):
    """A histogram of 100 x 100 cells, of which 10 x 10 have samples; and the best parameters."""
    rng = np.random.default_rng(5)
    edges = np.linspace(0, 10, 101)
    center = 0.05 + 0.1 * np.arange(10)
    slope = np.outer(center - 0.5, np.ones(10)).reshape(-1) * 100
    counts = np.zeros((100, 100))
    counts[:10, :10] = rng.poisson(100 + 0.6 * slope).reshape(10, 10)
    np.savez(file, counts=counts, edges_x=edges, edges_y=edges)
    # The model is linear: 100 times number in each cell, and number times slope.
    design = np.stack([np.full(100, 100.0), slope], axis=1)
    data = counts[:10, :10].reshape(-1)
    covariance = np.linalg.inv(design.T @ (design / data[:, None]))
    number, both = covariance @ design.T @ np.ones(100)
    jacobian = np.array([[1, 0], [-both / number**2, 1 / number]])
    errors = np.sqrt(np.diagonal(jacobian @ covariance @ jacobian.T))
    names = ("number", "slope")
    return dict(zip(names, (number, both / number), strict=True)), dict(
        zip(names, errors, strict=True)
    )


@pytest.mark.as_shipped
def test_a_histogram_of_given_cells_is_fitted_without_a_training_catalog(tmp_path, installed):
    """10,000 cells, most of them empty: by chisq, with errors, a resume and a report."""
    (tmp_path / "my_model.py").write_text(MODEL)
    best, errors = write_cells(tmp_path / "cells.npz")
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/cells.yaml").write_text(CELLS)
    given = ["--config-dir=conf", "experiment=cells", "runtime.progress=false"]
    histories = []
    for devices in (1, 4):
        run_dir = tmp_path / f"run{devices}"
        for steps in (25, 60) if devices == 4 else (60,):  # a resume
            told = [*given, f"run_dir={run_dir}", f"fit.steps={steps}"]
            told.append(f"report.enabled={steps == 60}")
            code, _, err = run_told(*told, cwd=tmp_path, devices=devices)
            assert code == 0, err
        result = json.loads((run_dir / "result.json").read_text())
        for name, value in best.items():
            assert abs(result["params"][name] - value) < errors[name], name
            np.testing.assert_allclose(result["errors"][name], errors[name], rtol=0.1)
        histories.append(np.load(run_dir / "history.npz")["params"].tobytes())
        page = (run_dir / "report.html").read_text()
        assert "counts of histogram" in page
        assert "noise of the counts that are given" in page
    (tmp_path / "cells.npz").rename(tmp_path / "elsewhere.npz")
    code, _, err = run_told(*given, f"run_dir={run_dir}", "mode=report", cwd=tmp_path)
    assert code == 0, err
    code, _, err = run_told(*given, "mode=inspect", cwd=tmp_path)
    assert code == 2
    assert "bins.cells.statistics.histogram: FileNotFoundError" in err
    (tmp_path / "elsewhere.npz").rename(tmp_path / "cells.npz")
    code, told, err = run_told(*given, "run_dir=look", "mode=inspect", cwd=tmp_path)
    assert code == 0, err
    assert "counts of histogram" in told
    assert histories[0] == histories[1]
