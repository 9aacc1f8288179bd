"""The fit loop: same bits on any mesh and after any stop, and nothing lost when it goes wrong."""

import gc
import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

from kdescent_dist.callbacks import StopFit, StopWhenFlat
from kdescent_dist.checkpoint import latest_step
from kdescent_dist.descent import adam
from kdescent_dist.errors import InputError, NonFiniteLossError, Preempted
from kdescent_dist.fit import fit
from kdescent_dist.history import GrowingHistory, History
from kdescent_dist.identity import digest
from kdescent_dist.objective import LossObjective
from kdescent_dist.settings import CheckpointConfig, FitConfig

STEPS = 23
ADAM = optax.adam(0.05)


@pytest.fixture(scope="module")
def bins():
    return problems.pretrained({"one": problems.GRIDS["one"]})


def run(bins, devices, steps=STEPS, **options):
    config = FitConfig(steps=steps, steps_per_call=options.pop("steps_per_call", 10))
    return fit(
        problems.objective(bins, devices, kernel_blocks=1),
        problems.GUESS,
        ADAM,
        bounds=problems.BOUNDS,
        names=problems.NAMES,
        config=config,
        **options,
    )


@pytest.fixture(scope="module")
def straight(bins):
    return run(bins, 1)


def assert_same_bits(one, other):
    for name in ("params", "losses", "grad_norms"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert one.final == other.final


def after(calls):
    """A stop request that comes at the given question."""
    counter = itertools.count()
    return lambda: next(counter) >= calls


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_fit_has_the_same_bits_on_any_number_of_devices(bins, straight, devices):
    assert_same_bits(run(bins, devices), straight)


@pytest.mark.parametrize(("before", "afterwards"), [(1, 1), (1, 8), (4, 2)])
def test_a_stopped_fit_continues_to_the_same_bits(bins, straight, tmp_path, before, afterwards):
    """Also onto another number of devices, and with dispatches of another length."""
    with pytest.raises(Preempted, match="at step"):
        run(bins, before, checkpoints=tmp_path, stop_requested=after(3))
    assert 0 < latest_step(tmp_path) < STEPS
    resumed = run(bins, afterwards, checkpoints=tmp_path, steps_per_call=3)
    assert_same_bits(resumed, straight)


def test_a_finished_fit_starts_again_to_the_same_result(bins, straight, tmp_path):
    run(bins, 1, checkpoints=tmp_path)
    assert_same_bits(run(bins, 1, checkpoints=tmp_path), straight)


def test_a_longer_fit_continues_a_finished_one(bins, tmp_path):
    run(bins, 1, checkpoints=tmp_path)
    assert_same_bits(
        run(bins, 1, steps=STEPS + 4, checkpoints=tmp_path), run(bins, 1, steps=STEPS + 4)
    )


def test_a_fit_that_went_further_is_not_cut_short(bins, tmp_path):
    run(bins, 1, checkpoints=tmp_path)
    with pytest.raises(InputError, match=f"fit.steps=5: .* already at step {STEPS}"):
        run(bins, 1, steps=5, checkpoints=tmp_path)
    assert latest_step(tmp_path) == STEPS


def test_trajectory_equals_a_plain_loop_of_optax(bins, straight):
    """The loop adds nothing to what optax does with the gradients of the unbounded parameters."""
    from kdescent_dist.bounds import Bounds

    objective = problems.objective(bins, 1, kernel_blocks=1)
    bounds = Bounds.from_pairs(problems.BOUNDS, len(problems.NAMES))
    value_and_grad = jax.jit(objective.value_and_grad)
    unbounded = bounds.to_unbounded(jnp.asarray(problems.GUESS))
    state = ADAM.init(unbounded)
    for step in range(4):
        params, pull = jax.vjp(bounds.to_bounded, unbounded)
        key = jax.random.fold_in(jax.random.key(0), step)
        loss, grad = value_and_grad(params, key, objective.data)
        np.testing.assert_allclose(straight.params[step], params, rtol=1e-5)
        np.testing.assert_allclose(straight.losses[step], loss, rtol=1e-4)
        updates, state = ADAM.update(pull(grad)[0], state, unbounded)
        unbounded = optax.apply_updates(unbounded, updates)


@pytest.fixture
def collected():
    yield
    gc.collect()


def leaves_coroutines(test):
    """Orbax drops coroutines that wait for what cannot be read: collect them with the test."""
    test = pytest.mark.usefixtures("collected")(test)
    for category in ("pytest.PytestUnraisableExceptionWarning", "RuntimeWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{category}")(test)
    return test


def quadratic(params, randkey=None, offset=0.0):
    noise = 0.0 if randkey is None else 1e-3 * jax.random.normal(randkey)
    return jnp.sum((params - 1.0 - offset) ** 2) + noise


def test_any_loss_can_be_fitted_saved_and_continued(tmp_path):
    objective = LossObjective(quadratic, {"offset": np.float32(0.5)})
    options = {"config": FitConfig(steps=300), "names": ["a", "b"]}
    straight = fit(objective, [0.0, 4.0], optax.adam(0.1), **options)
    np.testing.assert_allclose(straight.params[-1], 1.5, atol=1e-2)
    with pytest.raises(Preempted):
        fit(
            objective,
            [0.0, 4.0],
            optax.adam(0.1),
            checkpoints=tmp_path,
            stop_requested=after(4),
            **options,
        )
    resumed = fit(objective, [0.0, 4.0], optax.adam(0.1), checkpoints=tmp_path, **options)
    assert_same_bits(resumed, straight)


def explode(params):
    """Finite down to 0.5, and not finite below."""
    return jnp.sum(jnp.where(params > 0.5, params, jnp.nan))


def test_a_loss_that_is_not_finite_halts_and_keeps_the_last_good_state(tmp_path):
    objective = LossObjective(explode, with_key=False)
    with pytest.raises(NonFiniteLossError, match="loss is not finite at step 6") as caught:
        fit(objective, [1.05], optax.sgd(0.1), config=FitConfig(steps=50), checkpoints=tmp_path)
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
    config = FitConfig(steps=6)
    with pytest.raises(NonFiniteLossError, match="loss is not finite at step 6") as caught:
        fit(objective, [1.05], optax.sgd(0.1), config=config, checkpoints=tmp_path)
    assert caught.value.params.shape == (7, 1)
    assert latest_step(tmp_path) == 6


def test_a_stop_before_the_first_step_leaves_no_checkpoint(tmp_path):
    with pytest.raises(Preempted, match="at step 0"):
        fit(
            LossObjective(quadratic),
            [0.0],
            ADAM,
            checkpoints=tmp_path,
            stop_requested=lambda: True,
        )
    assert latest_step(tmp_path) is None


def test_names_must_be_as_many_as_parameters():
    with pytest.raises(InputError, match="2 names for a guess of 1 parameters"):
        fit(LossObjective(quadratic), [0.0], ADAM, names=["a", "b"])


@leaves_coroutines
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_continued(
    bins, straight, tmp_path
):
    """A flipped byte in array data is restored silently by Orbax: the digest must tell."""
    run(bins, 1, steps=10, checkpoints=tmp_path, checkpoint=CheckpointConfig(keep=3))
    run(bins, 1, steps=15, checkpoints=tmp_path, checkpoint=CheckpointConfig(keep=3))
    for file in (tmp_path / "15" / "state").rglob("d/*"):
        flipped = bytearray(file.read_bytes())
        flipped[len(flipped) // 2] ^= 1
        file.write_bytes(flipped)
    assert_same_bits(run(bins, 1, checkpoints=tmp_path), straight)
    assert (tmp_path / "15.damaged").is_dir()
    assert latest_step(tmp_path) == STEPS


@leaves_coroutines
def test_a_truncated_checkpoint_is_put_aside_too(bins, straight, tmp_path):
    run(bins, 1, steps=10, checkpoints=tmp_path)
    run(bins, 1, steps=15, checkpoints=tmp_path)
    shutil.rmtree(tmp_path / "15" / "state")
    assert_same_bits(run(bins, 1, checkpoints=tmp_path), straight)
    assert (tmp_path / "15.damaged").is_dir()


@leaves_coroutines
def test_without_a_single_whole_checkpoint_nothing_starts_silently_anew(bins, tmp_path):
    run(bins, 1, steps=10, checkpoints=tmp_path)
    shutil.rmtree(tmp_path / "10" / "state")
    with pytest.raises(InputError, match=r"none of its 1 checkpoints is whole"):
        run(bins, 1, checkpoints=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guess": [0.5, 0.0]}, r"guess: \[0.0, 4.0\] -> \[0.5, 0.0\]"),
        ({"bounds": [(-9, 9), None]}, "low: .*-inf.* -> .*-9"),
        ({"seed": 1}, "key: "),
        ({"optimizer": optax.sgd(0.1)}, "state: "),
    ],
)
def test_checkpoints_of_another_fit_are_refused_and_left_alone(tmp_path, changes, message):
    options = {"guess": [0.0, 4.0], "optimizer": optax.adam(0.1), "checkpoints": tmp_path}
    options["config"] = FitConfig(steps=3)
    fit(LossObjective(quadratic), **options)
    with pytest.raises(InputError, match=message):
        fit(LossObjective(quadratic), **{**options, **changes})
    assert latest_step(tmp_path) == 3


def test_periodic_saves_by_steps_keep_the_latest(bins, tmp_path):
    checkpoint = CheckpointConfig(every_steps=5, every_seconds=None, keep=2)
    run(bins, 1, checkpoints=tmp_path, checkpoint=checkpoint, steps_per_call=4)
    steps = sorted(int(d.name) for d in tmp_path.iterdir() if d.name.isdigit())
    assert len(steps) == 2
    assert steps[-1] == STEPS


def test_callbacks_see_every_step_once_and_can_end_the_fit(bins):
    seen = []

    def callback(event):
        seen.extend(range(event.first, event.first + len(event.history)))
        assert event.step == seen[-1] + 1
        if event.step >= 10:
            raise StopFit("enough")

    result = run(bins, 1, callbacks=[callback])
    assert result.message == "enough"
    assert seen == list(range(len(seen)))
    assert len(result.losses) == len(seen) + 1


def test_a_flat_loss_ends_the_fit():
    objective = LossObjective(quadratic, with_key=False)
    result = fit(
        objective,
        [0.0],
        optax.sgd(0.4),
        config=FitConfig(steps=5000, steps_per_call=20),
        callbacks=[StopWhenFlat(window=10)],
    )
    assert "flat" in result.message
    assert len(result.losses) < 200
    assert result.params[-1] == pytest.approx(1.0, abs=1e-5)


def test_a_guess_outside_its_bounds_is_named():
    with pytest.raises(InputError, match=r"mass: guess 3 is outside its bounds \(0, 1\)"):
        fit(
            LossObjective(quadratic, with_key=False),
            [3.0],
            ADAM,
            bounds=[(0.0, 1.0)],
            names=["mass"],
        )


# --- what a step costs ----------------------------------------------------------------------


def test_a_fit_compiles_its_step_once(caplog):
    """Whatever the lengths of its dispatches, and the last evaluation included."""
    lengths = []
    with jax.log_compiles(True):
        fit(
            LossObjective(quadratic),
            [0.0],
            ADAM,
            config=FitConfig(steps=40, steps_per_call=16),
            callbacks=[lambda event: lengths.append(len(event.history))],
        )
    assert len(set(lengths)) > 2
    compiled = [m for m in caplog.messages if m.startswith("Finished XLA compilation of jit(run)")]
    assert len(compiled) == 1


def programs(monkeypatch, call):
    """The texts of the programs that a fit compiles for its steps."""
    texts, make = [], jax.jit

    def recorded(function, **options):
        made = make(function, **options)
        if function.__name__ != "run":
            return made

        def run(*args):
            texts.append(made.lower(*args).as_text())
            compiled = made.lower(*args).compile()
            memory = compiled.memory_analysis()
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(jax.tree.map(raw, args[0])))
            assert memory.alias_size_in_bytes >= size > 0  # the state is donated, all of it
            return made(*args)

        return run

    monkeypatch.setattr(jax, "jit", recorded)
    call()
    return set(texts)


def raw(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def test_the_number_of_steps_the_guess_and_the_seed_are_not_part_of_the_program(monkeypatch):
    """A compilation cache holds one program for all of them; and the state is not copied."""

    def call(steps, guess, seed):
        adam(quadratic, jnp.array([guess]), steps, [(-9, 9)], 0.1, seed, progress=False)

    assert len(programs(monkeypatch, lambda: (call(3, 0.0, 1), call(5, 2.0, 8)))) == 1


def poissonian(params, randkey):
    """One of the draws that JAX has for its own keys alone."""
    return jnp.sum((params - jax.random.poisson(randkey, 4.0) / 4) ** 2)


def mixed(params, randkey):
    key = jnp.stack([randkey, jax.random.key(2)])[0]
    return jnp.sum((params - jax.random.normal(key)) ** 2)


def particular(params, randkey):
    assert jax.random.key_impl(randkey) == jax.random.key_impl(jax.random.key(0))
    return jnp.sum((params - jax.random.normal(randkey)) ** 2)


@pytest.mark.parametrize("loss", [poissonian, mixed, particular, quadratic])
def test_a_loss_may_do_with_its_key_whatever_jax_allows(loss):
    objective = LossObjective(loss)
    result = fit(objective, [0.5], ADAM, config=FitConfig(steps=2), seed=5)
    key = jax.random.fold_in(jax.random.key(5), 0)
    assert result.losses[0] == pytest.approx(float(loss(jnp.array([0.5]), randkey=key)), rel=1e-6)


def test_an_error_of_the_loss_itself_is_raised_as_it_is(caplog):
    """Not as one that followed from the faster random bits, which are tried first."""

    def loss(params, randkey):
        raise KeyError("mass")

    with caplog.at_level("DEBUG", "kdescent_dist"), pytest.raises(KeyError, match="mass") as caught:
        fit(LossObjective(loss), [0.5], ADAM, config=FitConfig(steps=2))
    assert caught.value.__context__ is None
    assert "JAX's own random bits are used, as the faster ones failed: KeyError" in caplog.text


# --- the history ----------------------------------------------------------------------------


def rows(first, last):
    values = np.arange(first, last, dtype=np.float32)
    return History(np.stack([values, -values], axis=1), 2 * values, 3 * values)


def test_a_history_grows_without_a_copy_of_all_of_it_each_time():
    history = GrowingHistory(rows(0, 3))
    copies, before = 0, history.part().loss
    for first in range(3, 1000, 7):
        early = history.part(0, 3)
        history.append(rows(first, first + 7))
        copies += not np.shares_memory(before, history.part().loss)
        before = history.part().loss
        assert early.loss.tolist() == [0, 2, 4]
    assert copies < 10
    expected = rows(0, len(history))
    for name in ("params", "loss", "grad_norm"):
        assert np.array_equal(getattr(history.part(), name), getattr(expected, name))


def test_a_save_writes_the_new_rows_of_the_history_only(tmp_path):
    checkpoint = CheckpointConfig(every_steps=10, every_seconds=None, keep=3)
    config = FitConfig(steps=30, steps_per_call=10)
    fit(
        LossObjective(quadratic),
        [0.0, 1.0],
        ADAM,
        config=config,
        checkpoints=tmp_path,
        checkpoint=checkpoint,
    )
    assert (tmp_path / "history.bin").stat().st_size == 30 * 4 * 4
    assert not list(tmp_path.glob("*/history"))


@leaves_coroutines
def test_a_history_that_lost_its_end_continues_from_the_checkpoint_before(bins, straight, tmp_path):
    run(bins, 1, steps=10, checkpoints=tmp_path)
    run(bins, 1, steps=15, checkpoints=tmp_path)
    file = tmp_path / "history.bin"
    file.write_bytes(file.read_bytes()[:-3])
    assert_same_bits(run(bins, 1, checkpoints=tmp_path), straight)
    assert (tmp_path / "15.damaged").is_dir()
    assert file.stat().st_size == STEPS * 4 * (len(straight.names) + 2)


def test_a_checkpoint_with_its_own_history_is_continued(tmp_path):
    """As version 0.1.0 wrote them: the history is an item of each checkpoint."""
    import orbax.checkpoint as ocp

    def options(steps):
        return {"config": FitConfig(steps=steps), "checkpoints": tmp_path}

    objective, guess = LossObjective(quadratic), [0.0, 4.0]
    straight = fit(objective, guess, ADAM, config=FitConfig(steps=9))
    fit(objective, guess, ADAM, **options(5))
    (tmp_path / "history.bin").unlink()
    record = {
        "params": straight.params[:5],
        "loss": straight.losses[:5],
        "grad_norm": straight.grad_norms[:5],
    }
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "5" / "history", record)
    file = tmp_path / "5" / "meta" / "metadata"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"history": digest(record)}))
    assert_same_bits(fit(objective, guess, ADAM, **options(9)), straight)
