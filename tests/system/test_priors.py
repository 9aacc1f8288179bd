"""Priors from the config to the report: a run, its errors, and the identity of its problem."""

import pytest

from support.command_line import run_here, run_told
from support.pages import Page
from support.process_groups import SMALL, result

OWN = """
class Cauchy:
    def __init__(self, center, width):
        self.center, self.width = center, width

    def log_prob(self, x):
        import jax.numpy as jnp
        return -jnp.log1p(((x - self.center) / self.width) ** 2)
"""
FIT = [
    *SMALL,
    "fit.steps=20",
    "fit.finish=newton",
    "report.samples=500",
    "loss.kind=gls",
    "parameters.correlation.prior={uniform: [-0.9, 0.9]}",
    "parameters.mean_2.prior={_target_: their_priors.Cauchy, center: 3.0, width: 0.5}",
]
NARROW = "parameters.mean_1.prior={normal: [1.6, 0.001]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("priors")
    (folder / "their_priors.py").write_text(OWN)
    run_here(f"run_dir={folder / 'run'}", *FIT, NARROW, cwd=folder)
    return folder


@pytest.mark.slow
def test_a_narrow_prior_holds_its_parameter_and_is_in_its_error(folder):
    found = result(folder / "run")
    assert found["params"]["mean_1"] == pytest.approx(1.6, abs=1e-3)
    assert found["errors"]["mean_1"] == pytest.approx(1e-3, rel=0.01)
    assert 0.01 < found["errors"]["mean_2"] < 0.2
    assert found["errors_note"].startswith("noise of the training catalog and of the priors")
    assert found["covariance"]["includes"] == "noise of the training catalog and of the priors"
    assert (
        "noise of the training catalog and of the priors" in Page(folder / "run/report.html").text
    )


@pytest.mark.slow
def test_another_prior_is_another_problem_and_the_same_is_continued(folder):
    def told(*overrides):
        return run_told(f"run_dir={folder / 'run'}", *FIT, *overrides, cwd=folder)

    code, _, err = told("parameters.mean_1.prior={normal: [1.6, 0.002]}")
    assert code == 2
    assert "parameters.mean_1.prior.normal: [1.6, 0.001] -> [1.6, 0.002]" in err
    code, _, err = told()
    assert code == 2
    assert "parameters.mean_1.prior.normal: [1.6, 0.001] -> not set" in err
    code, _, err = told(NARROW)
    assert code == 0, err
    assert "errors: done by an earlier start" in err
    (folder / "their_priors.py").write_text(OWN.replace("log1p(", "log1p(2 * "))
    code, _, err = told(NARROW)
    assert code == 2
    assert "code.their_priors" in err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.kind=mse"], "parameters.mean_2.prior: needs loss.kind=chisq or loss.kind=gls"),
        (["parameters.mean_1.prior={gauss: [0, 1]}"], "prior=gauss: must be one of normal, "),
        (["parameters.mean_1.prior={normal: [0]}"], "must be ``normal: [mean, sd]``"),
        (["parameters.mean_1.prior={uniform: [3, 4]}"], "outside its bounds (3, 4)"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(folder, overrides, message):
    code, _, err = run_told(f"run_dir={folder / 'other'}", *FIT, *overrides, cwd=folder)
    assert code == 2
    assert message in err
