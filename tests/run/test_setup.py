"""Fits of further catalogs take the setup of the answer, not that of the first start."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.compose import to_yaml
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import Config, FitConfig, LossConfig, ModelConfig, StopConfig
from kdescent_dist.fitting.result import FitResult
from kdescent_dist.objective.log_prior import LogPrior
from kdescent_dist.run import starts
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.setup import config_of_answer, setup_of

MODEL = ModelConfig(_target_="kdescent_dist.models.gaussian.model")
FIRST = Config(model=MODEL, loss=LossConfig(kind="chisq"), fit=FitConfig(steps=9))
STOP = StopConfig(plateau=7, seconds=3.0)
LATER = replace(
    FIRST,
    loss=replace(FIRST.loss, kind="gls"),
    fit=FitConfig(steps=20, answer="best", finish="none", stop=STOP, starts=4),
)


def done(message, step=12):
    parameters = Parameters.of_vector(np.array([0.1, 2.0], np.float32), ["a", "b"])
    nothing = np.zeros((step + 1, 2), np.float32)
    state: Any = SimpleNamespace(step=np.int32(step))
    return FitResult(parameters, nothing, nothing[:, 0], nothing[:, 0], state, message)


@pytest.mark.parametrize(
    ("message", "steps"), [("the time: fit.stop.seconds=3", 12), ("a plateau: mean loss 1", 20)]
)
def test_a_run_that_ended_by_the_time_is_repeated_with_the_steps_that_it_took(message, steps):
    setup = setup_of(LATER, done(message))
    assert setup["steps"] == steps
    assert setup["guess"] == {"a": float(np.float32(0.1)), "b": 2.0}


def test_the_settings_are_those_with_which_the_answer_was_found(tmp_path):
    """Though the run was begun with others, and continued with yet others."""
    (tmp_path / "config.yaml").write_text(to_yaml(FIRST))
    result = {"status": "done", "steps": 20, "setup": setup_of(LATER, done("all steps done"))}
    (tmp_path / "result.json").write_text(json.dumps(result))
    found = config_of_answer(RunDirectory(tmp_path))
    assert found.fit == LATER.fit
    assert found.loss == LATER.loss


def test_a_result_of_an_earlier_version_has_its_steps_and_its_finish(tmp_path):
    (tmp_path / "config.yaml").write_text(to_yaml(FIRST))
    (tmp_path / "result.json").write_text(json.dumps({"status": "done", "steps": 30}))
    fit = config_of_answer(RunDirectory(tmp_path)).fit
    assert (fit.steps, fit.finish, fit.answer) == (30, "none", "last")
    (tmp_path / "result.json").write_text(json.dumps({"status": "running", "steps": 30}))
    assert config_of_answer(RunDirectory(tmp_path)).fit == FIRST.fit


class AboveOne:
    """A prior of another library, whose support is not known."""

    def log_prob(self, x):
        return jnp.where(x > 1, -x, -jnp.inf)


def test_a_start_outside_the_support_of_a_prior_has_no_density():
    parameters = Parameters.of_vector([2.0], ["a"], priors={"a": AboveOne()})
    problem: Any = SimpleNamespace(objective=SimpleNamespace(prior=LogPrior.of(parameters)))
    assert starts._has_density(problem, np.array([1.5]))
    assert not starts._has_density(problem, np.array([0.5]))
