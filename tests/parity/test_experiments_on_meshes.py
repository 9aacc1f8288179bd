"""Fits of shipped experiments have the same bits on any number of devices, and after a resume.

Small problems have always had them: it takes loops of several bins, Fourier modes, or a model that
interpolates, before XLA compiles one device otherwise than several.
"""

from pathlib import Path

import numpy as np
import pytest

from kdescent_dist.numerics.fallback import fallbacks
from support.command_line import run_here

pytestmark = pytest.mark.as_shipped

NIGHTLY = pytest.mark.nightly
QUICK = ("runtime.progress=false", "report.enabled=false")
WITHOUT_ERRORS = ("fit.finish=none", "report.errors=false")
EXPERIMENTS = [
    pytest.param("quickstart", marks=NIGHTLY),
    "color_mass",
    "halo_catalog",
    pytest.param("galaxy_colors", marks=NIGHTLY),
    pytest.param("galaxy_colors_grid", marks=NIGHTLY),
]


def fit(folder: Path, experiment: str, *options: str, devices: int) -> dict[str, np.ndarray]:
    """The numbers of a fit in a folder, which the fit resumes if it exists."""
    where, before = f"run_dir={folder}", fallbacks()
    run_here(
        f"experiment={experiment}", where, *QUICK, *options, cwd=folder.parent, devices=devices
    )
    assert fallbacks() == before  # or XLA would have compiled one device otherwise than several
    found = dict(np.load(folder / "history.npz"))
    covariance = folder / "covariance.npz"
    return found | (dict(np.load(covariance)) if covariance.exists() else {})


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, name)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_steps_on_one_and_several_devices_and_after_a_resume(experiment, tmp_path):
    options = (*WITHOUT_ERRORS, "optimizer.schedule=constant")  # so that steps may be added
    expected = fit(tmp_path / "one", experiment, *options, "fit.steps=24", devices=1)
    assert len(expected["loss"]) >= 24
    found = fit(tmp_path / "two", experiment, *options, "fit.steps=24", devices=2)
    assert_same(found, expected)
    fit(tmp_path / "more", experiment, *options, "fit.steps=12", devices=8)
    assert_same(fit(tmp_path / "more", experiment, *options, "fit.steps=24", devices=4), expected)


@NIGHTLY
@pytest.mark.parametrize("experiment", ["quickstart", "color_mass", "halo_catalog"])
def test_the_finish_and_the_errors_on_one_and_several_devices(experiment, tmp_path):
    expected = fit(tmp_path / "1", experiment, "fit.steps=24", devices=1)
    assert "covariance" in expected
    for devices in (2, 8):
        assert_same(
            fit(tmp_path / f"{devices}", experiment, "fit.steps=24", devices=devices), expected
        )
