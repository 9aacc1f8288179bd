"""Whole fits of shipped experiments go where they should."""

import json

import numpy as np
import pytest

from kdescent_dist.config.compose import from_yaml
from support.command_line import run_here

pytestmark = pytest.mark.as_shipped


def test_a_few_steps_of_galaxy_colors_go_most_of_the_way(tmp_path):
    """From a chi-square of some forty at the guess: the whole program, as it is compiled."""
    options = [
        "fit.steps=40",
        "fit.finish=none",
        "report.enabled=false",
        "report.errors=false",
        f"run_dir={tmp_path / 'run'}",
    ]
    run_here("experiment=galaxy_colors", *options, cwd=tmp_path)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[0] > 30
    assert np.median(losses[-10:]) < 4


@pytest.mark.nightly
def test_a_smaller_halo_catalog_recovers_its_parameters_from_the_weighted_halos(tmp_path):
    """The whole program, on a sixth of the volume; halos trade peak, slopes and scatter."""
    options = [
        "catalog.make.volume=1.0e+6",
        "input.catalog.make.size=10000",
        "bins.colors.edges.logsm=[9.4,10.2,10.8,11.8]",
        "fit.steps=300",
        "optimizer.learning_rate=0.05",
        "report.samples=1000",
        f"run_dir={tmp_path / 'run'}",
    ]
    run_here("experiment=halo_catalog", *options, cwd=tmp_path)
    config = from_yaml((tmp_path / "run" / "config.yaml").read_text())
    truth = {name: parameter.truth for name, parameter in config.parameters.items()}
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["input_catalog"]["rows"] == 10_000
    tolerances = {
        **dict.fromkeys(("logm_peak", "log_ratio", "slope_high"), 0.15),
        "slope_low": 0.25,
        "scatter": 0.06,
        **dict.fromkeys(("logm_quench", "width_quench"), 0.08),
    }
    for name, value in result["params"].items():
        assert value == pytest.approx(truth[name], abs=tolerances.get(name, 0.015)), name
        # Within the errors that the report states.
        assert abs(value - truth[name]) < 3.5 * result["errors"][name], name
        assert result["errors"][name] < tolerances.get(name, 0.015), name
    assert result["errors_note"] == "noise of the training catalog and of the input catalog"
