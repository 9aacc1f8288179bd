"""Runs by the command with a column of region numbers in the training catalog."""

import json

import numpy as np
import pytest

from support.command_line import call, flags_kept

MODEL = """
import jax
from kdescent_dist import Population


def at_one_place(params, key, size):
    # Not finite but at the guess.
    away = jax.numpy.where(params["mean"] == 0.25, 0.0, jax.numpy.nan)
    return Population({"x": params["mean"] + away + jax.random.normal(key, (size,))})


def normal(params, key, size):
    return Population({"x": params["mean"] + jax.random.normal(key, (size,))})
"""

CONFIG = """
# @package _global_
name: clusters
model: {_target_: region_model.normal}
parameters: {mean: {guess: 0.2}}
catalog: {path: clusters.npz, where: x > -4, subsample: 1900}
samples: {size: 2000}
bins: {one: {columns: [x], kernels: 6, fourier: 6, pretrain_kernels: 20, pretrain_fourier: 20}}
loss: {kind: chisq}
fit: {steps: 10, finish: none}
checkpoint: {every_seconds: null}
report: {enabled: false}
runtime: {progress: false, compilation_cache: false}
"""


@pytest.fixture(name="command")
def _command(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    common = np.repeat(rng.normal(size=200), 10)
    order = rng.permutation(2000)
    columns = {
        "x": (np.sqrt(0.7) * common + np.sqrt(0.3) * rng.normal(size=2000))[order],
        "cluster": np.repeat(np.arange(200), 10)[order],
    }
    np.savez(tmp_path / "clusters.npz", **columns)
    (tmp_path / "region_model.py").write_text(MODEL)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "clusters.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    with flags_kept():
        yield lambda *more: call(
            monkeypatch, "--config-dir", str(tmp_path), "experiment=clusters", "run_dir=run", *more
        )


def test_regions_are_added_to_a_run_that_is_done(command, tmp_path):
    assert command() == 0
    before = json.loads((tmp_path / "run" / "result.json").read_text())
    assert command("catalog.regions=cluster // 5") == 0
    after = json.loads((tmp_path / "run" / "result.json").read_text())
    assert after["params"] == before["params"]
    assert after["catalog"]["regions"] == 40
    assert "a jackknife over 40 regions" in after["errors_note"]
    # Ten rows that share 70% of their variance have 2.7 times the error of their mean.
    assert 1.5 < after["errors"]["mean"] / before["errors"]["mean"] < 3.5


CHAINS = ("mode=posterior", "posterior.chains=1", "posterior.draws=4", "posterior.warmup=20")


@pytest.mark.nightly
def test_regions_that_are_added_begin_chains_anew(command, tmp_path, capsys):
    def found():
        return json.loads((tmp_path / "run" / "result.json").read_text())

    chains = (*CHAINS, "posterior.populations=1", "report.errors=false")
    assert command(*chains) == 0
    before = found()["posterior"]["params"]["mean"]
    regions = "catalog.regions=cluster // 5"
    assert command(regions, "report.errors=false") == 0
    assert "posterior" not in found()
    capsys.readouterr()
    assert command(*chains, regions) == 0
    assert capsys.readouterr().err.count("chains begin anew") == 1
    assert found()["posterior"]["params"]["mean"] != before


@pytest.mark.nightly
def test_a_likelihood_that_is_not_finite_is_told_without_a_traceback(command, tmp_path, capsys):
    model = ("model._target_=region_model.at_one_place", "parameters.mean.guess=0.25")
    still = ("fit.steps=1", "optimizer.learning_rate=1e-30", "report.errors=false")
    assert command(*CHAINS, *model, *still) == 1
    told = capsys.readouterr().err
    assert "posterior: the likelihood near the fit is not finite; the fit stands in run" in told
    assert "Traceback" not in told
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["catalog.regions=cluster/7"], "region numbers are no integers"),
        (["catalog.regions=cluster // 40"], "there are 5 regions, fewer than 10"),
        (["catalog.regions=patch"], "catalog.regions: no column 'patch'"),
        (["catalog.regions=cluster // 20", "loss.kind=gls"], "needs 15 for 1 free"),
        (["catalog.regions=cluster // 20", "mode=posterior"], "mode=posterior needs 15 for 1 free"),
        (["loss.kind=mse", "loss.errors=model"], "loss.errors=model: loss.kind=mse"),
    ],
)
def test_regions_and_errors_that_cannot_be_used(command, capsys, options, told):
    assert command(*options) == 2
    assert told in capsys.readouterr().err
