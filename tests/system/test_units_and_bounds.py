"""A config whose parameters are in any units, and begin on a bound."""

import json

import numpy as np
import pytest

from support.command_line import run_told

pytestmark = pytest.mark.as_shipped

MODEL = """
import jax
from kdescent_dist import Population

def units(params, key, size):
    noise = jax.random.normal(key, (2, size))
    x = 1e6 * params["small"] + params["width"] * noise[0]
    y = 1e-6 * params["large"] + 0.5 * noise[1]
    return Population({"x": x, "y": y})
"""
EXPERIMENT = """
# @package _global_
name: units
model: {_target_: units_model.units}
parameters:
  small: {guess: 1.0e-6}
  large: {guess: 3.0e+6, low: 0.0}
  width: {guess: 1.0, low: 0.05, high: 1.0}
catalog: {path: units.npz}
samples: {size: 1000}
bins:
  all: {columns: [x, y], kernels: 16, fourier: 0, pretrain_kernels: 200}
optimizer: {learning_rate: 0.05}
fit: {steps: 150, finish: none}
report: {enabled: false, errors: false}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    (folder / "units_model.py").write_text(MODEL)
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "units.yaml").write_text(EXPERIMENT.lstrip())
    noise = np.random.default_rng(0).normal(size=(2, 3000))
    np.savez(folder / "units.npz", x=2.0 + 0.6 * noise[0], y=4.0 + 0.5 * noise[1])
    return folder


@pytest.fixture(scope="module")
def fitted(folder):
    return told(folder, "run_dir=run")


def told(folder, *overrides):
    return run_told("--config-dir=conf", "experiment=units", *overrides, cwd=folder)


def test_parameters_of_1e_minus_6_and_3e6_and_on_a_bound_are_fitted_together(folder, fitted):
    code, _, err = fitted
    assert code == 0, err
    found = json.loads((folder / "run/result.json").read_text())["params"]
    assert found["small"] == pytest.approx(2e-6, rel=0.1)
    assert found["large"] == pytest.approx(4e6, rel=0.05)
    assert found["width"] == pytest.approx(0.6, abs=0.1)


def test_the_log_tells_scales_and_a_guess_that_was_moved_once(folder, fitted):
    log = (folder / "run/log.txt").read_text()
    scales = "scales of parameters in the optimizer: small: 1e-06, large: 1e+06"
    assert log.count(scales) == 1
    line = "parameters.width: the guess 1 is on its bound: the fit begins at 0.99905"
    assert log.count(line) == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("parameters.small.scale=1", "config.parameters.small.scale: 1e-06 -> 1.0\n"),
        ("fit.bounds=arctan", "config.fit.bounds: logit -> arctan\n"),
    ],
)
def test_another_scale_or_map_of_bounds_is_another_fit(folder, fitted, change, line):
    code, _, err = told(folder, "run_dir=run", "fit.steps=160", change)
    assert code == 2
    assert line in err


def test_a_run_is_continued_with_the_scales_that_it_has(folder, fitted):
    code, _, err = told(folder, "run_dir=run", "fit.steps=152", "parameters.small.scale=1e-6")
    assert code == 0, err
    assert "continuing from the checkpoint of step 150" in err


def test_a_map_of_bounds_has_a_name(folder):
    code, _, err = told(folder, "fit.bounds=tanh")
    assert code == 2
    assert "fit.bounds=tanh: must be one of logit, arctan" in err
