"""Optimizers are tried before anything runs, and a bad one is refused by its key."""

import numpy as np
import optax
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import OptimizerConfig
from kdescent_dist.fitting.optimizer import learning_rate_schedule, make_optimizer

BAD = [
    ({"name": "lbfgs"}, "optimizer.name=lbfgs: cannot be used here"),
    ({"name": "adams"}, "optimizer.name=adams: did you mean"),
    ({"name": "sm3", "schedule": "cosine"}, "it needs optimizer.schedule=constant"),
    ({"options": {"b1": "abc"}}, "optimizer.options={'b1': 'abc'}: TypeError"),
    ({"options": {"b9": 1}}, "optimizer.options.b9: did you mean"),
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
