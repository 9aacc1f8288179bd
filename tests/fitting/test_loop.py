"""The fit loop: same bits on any mesh, and what ends it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdescent_dist.config.errors import InputError, NonFiniteLossError, Preempted
from kdescent_dist.config.schema import FitConfig
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.callbacks import StopFit, StopWhenFlat
from kdescent_dist.fitting.checkpoints import latest_step
from kdescent_dist.fitting.logit_map import LogitMap
from kdescent_dist.fitting.loop import fit
from kdescent_dist.objective.loss_function import LossObjective
from support import fits, problems

pytestmark = pytest.mark.as_shipped


@pytest.mark.slow
@pytest.mark.parametrize(
    "devices", [*(pytest.param(n, marks=pytest.mark.nightly) for n in (2, 4)), 8]
)
def test_fit_has_the_same_bits_on_any_number_of_devices(devices):
    fits.assert_same_bits(fits.run(devices), fits.straight())


@pytest.mark.slow
def test_trajectory_equals_a_plain_loop_of_optax():
    """The loop adds nothing to what optax does with the gradients of the unbounded parameters."""
    objective = problems.objective(fits.bins(), 1, kernel_blocks=1)
    bounds = LogitMap(Bounds.from_pairs(problems.BOUNDS, len(problems.NAMES)))
    value_and_grad = jax.jit(objective.value_and_grad)
    unbounded = bounds.to_unbounded(jnp.asarray(problems.GUESS))
    state = fits.ADAM.init(unbounded)
    for step in range(4):
        params, pull = jax.vjp(bounds.to_bounded, unbounded)
        key = jax.random.fold_in(jax.random.key(0), step)
        loss, grad = value_and_grad(params, key, objective.data)
        np.testing.assert_allclose(fits.straight().params[step], params, rtol=1e-5)
        np.testing.assert_allclose(fits.straight().losses[step], loss, rtol=1e-4)
        updates, state = fits.ADAM.update(pull(grad)[0], state, unbounded)
        unbounded = optax.apply_updates(unbounded, updates)


def explode(params):
    """Finite down to 0.5, and not finite below."""
    return jnp.sum(jnp.where(params > 0.5, params, jnp.nan))


def test_a_loss_that_is_not_finite_halts_and_keeps_the_last_good_state(tmp_path):
    objective = LossObjective(explode, with_key=False)
    with pytest.raises(NonFiniteLossError, match="loss is not finite at step 6") as caught:
        fit(
            objective,
            [1.05],
            optax.sgd(0.1),
            config=FitConfig(finish="none", steps=50),
            checkpoints=tmp_path,
        )
    assert caught.value.params.shape == (7, 1)
    np.testing.assert_allclose(caught.value.params[5], 0.55, rtol=1e-5)
    assert np.isfinite(caught.value.losses[:6]).all()
    assert latest_step(tmp_path) == 6


def test_a_gradient_that_is_not_finite_at_the_guess_halts_too(tmp_path):
    """Before the first update there is no state to save."""
    objective = LossObjective(lambda p: jnp.sum(jnp.sqrt(p - 1.0)), with_key=False)
    with pytest.raises(NonFiniteLossError, match="gradient is not finite at step 0"):
        fit(objective, [1.0], optax.sgd(0.1), checkpoints=tmp_path)


def test_a_loss_that_is_not_finite_at_the_final_parameters_is_no_success(tmp_path):
    objective = LossObjective(explode, with_key=False)
    config = FitConfig(finish="none", steps=6)
    with pytest.raises(NonFiniteLossError, match="loss is not finite at step 6") as caught:
        fit(objective, [1.05], optax.sgd(0.1), config=config, checkpoints=tmp_path)
    assert caught.value.params.shape == (7, 1)
    assert latest_step(tmp_path) == 6


def test_a_stop_before_the_first_step_leaves_no_checkpoint(tmp_path):
    with pytest.raises(Preempted, match="at step 0"):
        fit(
            LossObjective(fits.quadratic),
            [0.0],
            fits.ADAM,
            checkpoints=tmp_path,
            stop_requested=lambda: True,
        )
    assert latest_step(tmp_path) is None


def test_names_must_be_as_many_as_parameters():
    with pytest.raises(InputError, match="2 names for a guess of 1 parameters"):
        fit(LossObjective(fits.quadratic), [0.0], fits.ADAM, names=["a", "b"])


@pytest.mark.slow
def test_callbacks_see_every_step_once_and_can_end_the_fit():
    seen = []

    def callback(event):
        seen.extend(range(event.first, event.first + len(event.history)))
        assert event.step == seen[-1] + 1
        if event.step >= 10:
            raise StopFit("enough")

    result = fits.run(1, callbacks=[callback])
    assert result.message == "enough"
    assert seen == list(range(len(seen)))
    assert len(result.losses) == len(seen) + 1


def test_a_flat_loss_ends_the_fit():
    objective = LossObjective(fits.quadratic, with_key=False)
    result = fit(
        objective,
        [0.0],
        optax.sgd(0.4),
        config=FitConfig(finish="none", steps=5000, steps_per_call=20),
        callbacks=[StopWhenFlat(window=10)],
    )
    assert "flat" in result.message
    assert len(result.losses) < 200
    assert result.params[-1] == pytest.approx(1.0, abs=1e-5)


def test_a_guess_outside_its_bounds_is_named():
    with pytest.raises(InputError, match=r"mass: guess 3 is outside its bounds \(0, 1\)"):
        fit(
            LossObjective(fits.quadratic, with_key=False),
            [3.0],
            fits.ADAM,
            bounds=[(0.0, 1.0)],
            names=["mass"],
        )


# --- losses of functions ---------------------------------------------------------------------


def poissonian(params, randkey):
    """One of the draws that JAX has for its own keys alone."""
    return jnp.sum((params - jax.random.poisson(randkey, 4.0) / 4) ** 2)


def mixed(params, randkey):
    key = jnp.stack([randkey, jax.random.key(2)])[0]
    return jnp.sum((params - jax.random.normal(key)) ** 2)


def particular(params, randkey):
    assert jax.random.key_impl(randkey) == jax.random.key_impl(jax.random.key(0))
    return jnp.sum((params - jax.random.normal(randkey)) ** 2)


@pytest.mark.parametrize("loss", [poissonian, mixed, particular, fits.quadratic])
def test_a_loss_may_do_with_its_key_whatever_jax_allows(loss):
    objective = LossObjective(loss)
    result = fit(objective, [0.5], fits.ADAM, config=FitConfig(finish="none", steps=2), seed=5)
    key = jax.random.fold_in(jax.random.key(5), 0)
    assert result.losses[0] == pytest.approx(float(loss(jnp.array([0.5]), randkey=key)), rel=1e-6)


def test_an_error_of_the_loss_itself_is_raised_as_it_is(caplog):
    """Not as one that followed from the faster form of the loss, which is tried first."""

    def loss(params, randkey):
        raise KeyError("mass")

    with caplog.at_level("DEBUG", "kdescent_dist"), pytest.raises(KeyError, match="mass") as caught:
        fit(LossObjective(loss), [0.5], fits.ADAM, config=FitConfig(finish="none", steps=2))
    assert caught.value.__context__ is None
    assert "plain JAX compiles the loss" not in caplog.text  # which would be no help
