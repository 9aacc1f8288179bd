"""Optimizers are tried before anything runs, and a bad one is refused by its key."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import FitConfig, OptimizerConfig
from kdescent_dist.fitting.loop import fit
from kdescent_dist.fitting.optimizer import learning_rate_schedule, make_optimizer
from kdescent_dist.objective.loss_function import LossObjective

BAD = [
    ({"name": "adams"}, "optimizer.name=adams: did you mean"),
    ({"name": "sm3", "schedule": "cosine"}, "it needs optimizer.schedule=constant"),
    ({"options": {"b1": "abc"}}, "optimizer.options={'b1': 'abc'}: TypeError"),
    ({"options": {"b9": 1}}, "optimizer.options.b9: did you mean"),
    (
        {"_target_": "optax.contrib.prodigi"},
        "optimizer._target_=optax.contrib.prodigi: optax.contr",
    ),
    (
        {"schedule": "cosin"},
        "optimizer.schedule=cosin: must be one of constant, cosine, exponential",
    ),
    ({"schedule": "cosine", "schedule_options": {"a": 1}}, "optimizer.schedule_options={'a': 1}: "),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_an_optimizer_that_cannot_be_used_is_refused_by_its_key(values, message):
    with pytest.raises(InputError) as error:
        make_optimizer(OptimizerConfig(**values), 10)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["adam", "sgd", "rprop", "sm3"])
def test_a_constant_learning_rate_suits_every_optimizer(name):
    optimizer = make_optimizer(OptimizerConfig(name=name), 10)
    assert isinstance(optimizer, optax.GradientTransformation)


def test_a_warm_up_rises_linearly_to_the_learning_rate():
    config = OptimizerConfig(learning_rate=0.5, warmup_steps=5)
    schedule = learning_rate_schedule(config, 100)
    assert callable(schedule)
    rates = [np.asarray(schedule(step)) for step in (0, 1, 5, 50)]
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"_target_": "optax.contrib.prodigy", "learning_rate": 1.0},
        {"_target_": "optax.contrib.momo"},
        {"name": "polyak_sgd"},
        {"name": "lbfgs", "learning_rate": 1.0},
        {"_target_": "optax.contrib.muon", "schedule": "cosine", "clip_norm": 1.0},
    ],
)
def test_optimizers_of_other_modules_fit_a_loss(values):
    """Also those that take the loss itself, or search along a line."""
    objective = LossObjective(lambda params, randkey: jnp.sum((params - 0.3) ** 2))
    optimizer = make_optimizer(OptimizerConfig(**{"learning_rate": 0.1, **values}), 60)
    result = fit(objective, np.zeros(2), optimizer, config=FitConfig(steps=60))
    assert result.losses[-1] < 0.1 * result.losses[0]


PLUGIN = """
import optax

def ours(learning_rate, momentum=0.5):
    return optax.sgd(learning_rate, momentum)

ours.name = "ours"
"""


def test_another_package_adds_an_optimizer(plugin):
    plugin("kdescent_dist.optimizers", PLUGIN, "ours")
    make_optimizer(OptimizerConfig(name="ours", options={"momentum": 0.2}), 10)
    with pytest.raises(InputError, match=r"optimizer.options.b1: there are: momentum"):
        make_optimizer(OptimizerConfig(name="ours", options={"b1": 0.2}), 10)


SCHEDULE = """
import optax

class Steps:
    name = "steps"

    def make(self, peak, final_fraction, steps, every=10):
        return optax.exponential_decay(peak, every, final_fraction, staircase=True)

steps = Steps()
"""


def test_another_package_adds_a_schedule(plugin):
    plugin("kdescent_dist.schedules", SCHEDULE, "steps")
    config = OptimizerConfig(learning_rate=1.0, schedule="steps", schedule_options={"every": 5})
    schedule = learning_rate_schedule(config, 100)
    np.testing.assert_allclose([schedule(4), schedule(5)], [1.0, 0.01], rtol=1e-6)
