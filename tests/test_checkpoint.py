"""Checkpoints: a fit continues to the same bits after any stop, and damage costs what it must."""

import gc
import json
import shutil
from pathlib import Path

import fits
import numpy as np
import optax
import pytest

from kdescent_dist.checkpoint import latest_step
from kdescent_dist.errors import InputError, Preempted
from kdescent_dist.fit import fit
from kdescent_dist.objective import LossObjective
from kdescent_dist.settings import CheckpointConfig, FitConfig


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


@pytest.mark.parametrize(("before", "afterwards"), [(1, 1), (1, 8), (4, 2)])
def test_a_stopped_fit_continues_to_the_same_bits(tmp_path, before, afterwards):
    """Also onto another number of devices, and with dispatches of another length."""
    with pytest.raises(Preempted, match="at step"):
        fits.run(before, checkpoints=tmp_path, stop_requested=fits.after(3))
    assert 0 < latest_step(tmp_path) < fits.STEPS
    resumed = fits.run(afterwards, checkpoints=tmp_path, steps_per_call=3)
    fits.assert_same_bits(resumed, fits.straight())


def test_a_finished_fit_starts_again_to_the_same_result(tmp_path):
    fits.run(1, checkpoints=tmp_path)
    fits.assert_same_bits(fits.run(1, checkpoints=tmp_path), fits.straight())


def test_a_longer_fit_continues_a_finished_one(tmp_path):
    fits.run(1, checkpoints=tmp_path)
    fits.assert_same_bits(
        fits.run(1, steps=fits.STEPS + 4, checkpoints=tmp_path), fits.run(1, steps=fits.STEPS + 4)
    )


def test_a_fit_that_went_further_is_not_cut_short(tmp_path):
    fits.run(1, checkpoints=tmp_path)
    with pytest.raises(InputError, match=f"fit.steps=5: .* already at step {fits.STEPS}"):
        fits.run(1, steps=5, checkpoints=tmp_path)
    assert latest_step(tmp_path) == fits.STEPS


def test_any_loss_can_be_fitted_saved_and_continued(tmp_path):
    objective = LossObjective(fits.quadratic, {"offset": np.float32(0.5)})
    options = {"config": FitConfig(steps=300), "names": ["a", "b"]}
    straight = fit(objective, [0.0, 4.0], optax.adam(0.1), **options)
    np.testing.assert_allclose(straight.params[-1], 1.5, atol=1e-2)
    with pytest.raises(Preempted):
        fit(
            objective,
            [0.0, 4.0],
            optax.adam(0.1),
            checkpoints=tmp_path,
            stop_requested=fits.after(4),
            **options,
        )
    resumed = fit(objective, [0.0, 4.0], optax.adam(0.1), checkpoints=tmp_path, **options)
    fits.assert_same_bits(resumed, straight)


@leaves_coroutines
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_continued(tmp_path):
    """A flipped byte in array data is restored silently by Orbax: the digest must tell."""
    fits.run(1, steps=10, checkpoints=tmp_path, checkpoint=CheckpointConfig(keep=3))
    fits.run(1, steps=15, checkpoints=tmp_path, checkpoint=CheckpointConfig(keep=3))
    for file in (tmp_path / "15" / "state").rglob("d/*"):
        flipped = bytearray(file.read_bytes())
        flipped[len(flipped) // 2] ^= 1
        file.write_bytes(flipped)
    fits.assert_same_bits(fits.run(1, checkpoints=tmp_path), fits.straight())
    assert (tmp_path / "15.damaged").is_dir()
    assert latest_step(tmp_path) == fits.STEPS


@leaves_coroutines
def test_a_truncated_checkpoint_is_put_aside_too(tmp_path):
    fits.run(1, steps=10, checkpoints=tmp_path)
    fits.run(1, steps=15, checkpoints=tmp_path)
    shutil.rmtree(tmp_path / "15" / "state")
    fits.assert_same_bits(fits.run(1, checkpoints=tmp_path), fits.straight())
    assert (tmp_path / "15.damaged").is_dir()


@leaves_coroutines
def test_without_a_single_whole_checkpoint_nothing_starts_silently_anew(tmp_path):
    fits.run(1, steps=10, checkpoints=tmp_path)
    shutil.rmtree(tmp_path / "10" / "state")
    with pytest.raises(InputError, match=r"none of its 1 checkpoints is whole"):
        fits.run(1, checkpoints=tmp_path)


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
    fit(LossObjective(fits.quadratic), **options)
    with pytest.raises(InputError, match=message):
        fit(LossObjective(fits.quadratic), **{**options, **changes})
    assert latest_step(tmp_path) == 3


def test_periodic_saves_by_steps_keep_the_latest(tmp_path):
    checkpoint = CheckpointConfig(every_steps=5, every_seconds=None, keep=2)
    fits.run(1, checkpoints=tmp_path, checkpoint=checkpoint, steps_per_call=4)
    steps = sorted(int(d.name) for d in tmp_path.iterdir() if d.name.isdigit())
    assert len(steps) == 2
    assert steps[-1] == fits.STEPS


def test_a_save_writes_the_new_rows_of_the_history_only(tmp_path):
    checkpoint = CheckpointConfig(every_steps=10, every_seconds=None, keep=3)
    config = FitConfig(steps=30, steps_per_call=10)
    fit(
        LossObjective(fits.quadratic),
        [0.0, 1.0],
        fits.ADAM,
        config=config,
        checkpoints=tmp_path,
        checkpoint=checkpoint,
    )
    assert (tmp_path / "history.bin").stat().st_size == 30 * 4 * 4
    assert not list(tmp_path.glob("*/history"))


@leaves_coroutines
def test_a_history_that_lost_its_end_continues_from_the_checkpoint_before(tmp_path):
    fits.run(1, steps=10, checkpoints=tmp_path)
    fits.run(1, steps=15, checkpoints=tmp_path)
    file = tmp_path / "history.bin"
    file.write_bytes(file.read_bytes()[:-3])
    fits.assert_same_bits(fits.run(1, checkpoints=tmp_path), fits.straight())
    assert (tmp_path / "15.damaged").is_dir()
    assert file.stat().st_size == fits.STEPS * 4 * (len(fits.straight().names) + 2)


def flip_in_row_0(file):
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_in_row_0, "its first 2 rows are not those that were saved"),
        (Path.unlink, "No such file"),
    ],
)
def test_a_history_that_no_checkpoint_can_use_leaves_the_states_where_they_are(
    tmp_path, damage, reason
):
    """They are whole: with the file brought back, the fit continues."""

    def run(steps):
        config = FitConfig(steps=steps)
        return fit(
            LossObjective(fits.quadratic), [0.0], fits.ADAM, config=config, checkpoints=tmp_path
        )

    run(2)
    run(4)
    file = tmp_path / "history.bin"
    copy = file.read_bytes()
    damage(file)
    with pytest.raises(InputError, match=rf"history.bin: {reason}.*bring it back"):
        run(6)
    assert sorted(d.name for d in tmp_path.iterdir() if d.is_dir()) == ["2", "4"]
    file.write_bytes(copy)
    assert len(run(6).losses) == 7
    assert not list(tmp_path.glob("*.damaged"))


def test_a_checkpoint_in_a_format_of_before_is_refused_and_left_alone(tmp_path):
    objective, guess = LossObjective(fits.quadratic), [0.0, 4.0]
    fit(objective, guess, fits.ADAM, config=FitConfig(steps=5), checkpoints=tmp_path)
    file = tmp_path / "5" / "meta" / "metadata"
    meta = json.loads(file.read_text())
    meta["identity"].pop("format")
    file.write_text(json.dumps(meta))
    with pytest.raises(InputError, match="another fit:\n  format: None -> 2"):
        fit(objective, guess, fits.ADAM, config=FitConfig(steps=9), checkpoints=tmp_path)
    assert (tmp_path / "5").is_dir()
