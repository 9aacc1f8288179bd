"""The switch ``runtime.written_out``: its forms give way to plain JAX, aloud, and hide no error."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.schema import FitConfig
from kdescent_dist.fitting.loop import fit
from kdescent_dist.numerics.fallback import fallbacks
from kdescent_dist.objective.evaluate import evaluate
from kdescent_dist.objective.loss_function import LossObjective

pytestmark = pytest.mark.as_shipped

KEY = jax.random.key(3)


def evaluated(loss, written_out, params=(1.0, 2.0)):
    objective = LossObjective(loss)
    return jax.jit(lambda p, k: evaluate(objective, p, k, {}, written_out))(jnp.array(params), KEY)


def correlated(params, randkey):
    cov = jnp.array([[1.0, 0.3], [0.3, 1.0]])
    x = jax.random.multivariate_normal(randkey, params, cov, shape=(500,))
    return jnp.mean(x**2)


def choosy(params, randkey):
    """Asks for the kind of its key, as some packages do."""
    if jax.random.key_impl(randkey) != "threefry2x32":
        raise TypeError("only Threefry")
    return jnp.sum((params - jax.random.normal(randkey, (2,))) ** 2)


@pytest.mark.slow
def test_with_the_switch_off_the_loss_is_compiled_by_plain_jax():
    plain, grad = jax.value_and_grad(correlated)(jnp.array([1.0, 2.0]), randkey=KEY)
    off, fast = evaluated(correlated, False), evaluated(correlated, True)
    np.testing.assert_allclose(off[0], plain, rtol=1e-6)
    np.testing.assert_allclose(off[1], grad, rtol=1e-5)
    np.testing.assert_allclose(fast[0], plain, rtol=1e-5)


def test_a_fallback_is_counted_and_said_once(caplog):
    before = fallbacks()
    with caplog.at_level(logging.INFO):
        expected = evaluated(choosy, False)
        for _ in range(2):
            found = evaluated(choosy, True)
            assert np.array_equal(found[0], expected[0])
    assert fallbacks() == before + 2
    assert caplog.text.count("plain JAX compiles the loss, as its other form failed") == 1
    assert "TypeError: only Threefry" in caplog.text


@pytest.mark.parametrize("written_out", [True, False])
def test_a_loss_that_fails_fails_with_its_own_error(written_out):
    def broken(params, randkey):
        raise ZeroDivisionError("on purpose")

    before = fallbacks()
    with pytest.raises(ZeroDivisionError, match="on purpose") as raised:
        evaluated(broken, written_out)
    assert raised.value.__context__ is None
    assert fallbacks() == before


def test_the_switch_is_part_of_the_problem(tmp_path, one_step):
    one_step(tmp_path, written_out=True)
    with pytest.raises(Exception, match=r"runtime.written_out: default -> False"):
        one_step(tmp_path, written_out=False)


@pytest.fixture
def one_step():
    import optax

    def run(folder, written_out):
        return fit(
            LossObjective(lambda params, randkey: jnp.sum(params**2)),
            np.ones(2),
            optax.sgd(0.1),
            config=FitConfig(steps=1),
            checkpoints=folder,
            written_out=written_out,
        )

    return run
