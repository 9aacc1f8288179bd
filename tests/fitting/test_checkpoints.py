"""Checkpoints: a fit continues to the same bits after any stop, and damage costs what it must."""

import gc
import json
import shutil
import time
from pathlib import Path

import numpy as np
import optax
import pytest

from kdescent_dist.config.errors import CheckpointError, InputError, Preempted
from kdescent_dist.config.schema import CheckpointConfig, FitConfig
from kdescent_dist.fitting.checkpoints import latest_step
from kdescent_dist.fitting.loop import fit
from kdescent_dist.fitting.save_interval import SaveInterval
from kdescent_dist.objective.loss_function import LossObjective
from support import fits

pytestmark = pytest.mark.as_shipped


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "afterwards"),
    [
        pytest.param(1, 1, marks=pytest.mark.nightly),
        (1, 8),
        pytest.param(4, 2, marks=pytest.mark.nightly),
    ],
)
def test_a_stopped_fit_continues_to_the_same_bits(tmp_path, before, afterwards):
    """Also onto another number of devices, and with dispatches of another length."""
    with pytest.raises(Preempted, match="at step"):
        fits.run(before, checkpoints=tmp_path, stop_requested=fits.after(3))
    assert 0 < latest_step(tmp_path) < fits.STEPS
    resumed = fits.run(afterwards, checkpoints=tmp_path, steps_per_call=3)
    fits.assert_same_bits(resumed, fits.straight())


@pytest.mark.slow
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


@pytest.mark.slow
def test_any_loss_can_be_fitted_saved_and_continued(tmp_path):
    objective = LossObjective(fits.quadratic, {"offset": np.float32(0.5)})
    options = {"config": FitConfig(finish="none", steps=300), "names": ["a", "b"]}
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
def test_without_a_single_whole_checkpoint_no_start_begins_silently_anew(tmp_path):
    fits.run(1, steps=10, checkpoints=tmp_path)
    shutil.rmtree(tmp_path / "10" / "state")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"not one of its checkpoints.*\n  step 10: .*"):
            fits.run(1, checkpoints=tmp_path)
        assert (tmp_path / "10").is_dir()


def test_checkpoints_that_were_all_put_aside_are_not_forgotten(tmp_path):
    fits.run(1, steps=10, checkpoints=tmp_path)
    (tmp_path / "10").rename(tmp_path / "10.damaged")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="Bring a whole one back from a copy"):
            fits.run(1, checkpoints=tmp_path)


@leaves_coroutines
def test_the_checkpoint_of_a_step_may_be_damaged_again_and_again(tmp_path):
    fits.run(1, steps=10, checkpoints=tmp_path)
    for _ in range(3):
        fits.run(1, steps=15, checkpoints=tmp_path)
        shutil.rmtree(tmp_path / "15" / "state")
    fits.assert_same_bits(fits.run(1, checkpoints=tmp_path), fits.straight())
    aside = sorted(d.name for d in tmp_path.glob("*.damaged*"))
    assert aside == ["15.damaged", "15.damaged.2", "15.damaged.3"]


@pytest.mark.slow
@leaves_coroutines
@pytest.mark.parametrize("place", np.linspace(0, 1, 12, endpoint=False))
def test_one_bit_of_the_metadata_is_told_from_another_fit(tmp_path, place):
    fits.run_quadratic(2, checkpoints=tmp_path)
    fits.run_quadratic(4, checkpoints=tmp_path)
    file = tmp_path / "4" / "meta" / "metadata"
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    fits.run_quadratic(6, checkpoints=tmp_path)
    assert (tmp_path / "4.damaged").is_dir()


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
    options["config"] = FitConfig(finish="none", steps=3)
    fit(LossObjective(fits.quadratic), **options)
    with pytest.raises(InputError, match=message):
        fit(LossObjective(fits.quadratic), **{**options, **changes})
    assert latest_step(tmp_path) == 3


@pytest.mark.slow
def test_periodic_saves_by_steps_keep_the_latest(tmp_path):
    checkpoint = CheckpointConfig(every_steps=5, every_seconds=None, keep=2)
    fits.run(1, checkpoints=tmp_path, checkpoint=checkpoint, steps_per_call=4)
    steps = sorted(int(d.name) for d in tmp_path.iterdir() if d.name.isdigit())
    assert len(steps) == 2
    assert steps[-1] == fits.STEPS


def test_a_save_writes_the_new_rows_of_the_history_only(tmp_path):
    checkpoint = CheckpointConfig(every_steps=10, every_seconds=None, keep=3)
    config = FitConfig(finish="none", steps=30, steps_per_call=10)
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


def flip_in_row_3(file):
    content = bytearray(file.read_bytes())
    content[3 * 4 * (len(fits.straight().names) + 2)] ^= 1
    file.write_bytes(content)


def make_a_folder(file):
    file.unlink()
    file.mkdir()


def cut_in_last_row(file):
    file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (flip_in_row_3, [3]),
        (cut_in_last_row, [14]),
        (Path.unlink, range(15)),
        (make_a_folder, range(15)),
    ],
)
def test_damage_of_the_history_costs_its_rows_and_never_a_state(tmp_path, caplog, damage, lost):
    fits.run(1, steps=10, checkpoints=tmp_path)
    fits.run(1, steps=15, checkpoints=tmp_path)
    damage(tmp_path / "history.bin")
    resumed, straight = fits.run(1, checkpoints=tmp_path), fits.straight()
    assert f"{len(lost)} of the 15 rows of the history are lost" in caplog.text
    assert not list(tmp_path.glob("1*.damaged"))
    assert resumed.final == straight.final
    kept = np.setdiff1d(np.arange(fits.STEPS + 1), lost)
    for name in ("params", "losses", "grad_norms"):
        values = getattr(resumed, name)
        np.testing.assert_array_equal(values[kept], getattr(straight, name)[kept])
        assert np.isnan(values[lost]).all()
    # What is lost is known from then on, and is no news.
    caplog.clear()
    again = fits.run(1, checkpoints=tmp_path)
    np.testing.assert_array_equal(again.losses, resumed.losses)
    assert "are lost" not in caplog.text


@leaves_coroutines
def test_with_a_damaged_history_an_older_checkpoint_can_still_be_continued(tmp_path):
    fits.run(1, steps=10, checkpoints=tmp_path)
    fits.run(1, steps=15, checkpoints=tmp_path)
    flip_in_row_3(tmp_path / "history.bin")
    shutil.rmtree(tmp_path / "15" / "state")
    assert fits.run(1, checkpoints=tmp_path).final == fits.straight().final


class Purge:
    """Does something once, after the first checkpoint was told and before the next is due."""

    def __init__(self, act):
        self.act = act
        self.steps = []

    def saved(self, step):
        self.steps.append(step)

    def __call__(self, event):
        time.sleep(0.02)
        if self.steps and self.act is not None:
            self.act()
            self.act = None


RARE = {"checkpoint": CheckpointConfig(every_steps=18, every_seconds=None), "steps_per_call": 1}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["history.bin", "history.crc", ""])
def test_what_a_purge_removes_while_a_fit_runs_is_written_again(tmp_path, what):
    folder = tmp_path / "checkpoints"
    target = folder / what
    purge = Purge(lambda: (shutil.rmtree if target.is_dir() else Path.unlink)(target))
    fits.run(1, steps=40, checkpoints=folder, callbacks=[purge], saved=purge.saved, **RARE)
    assert purge.act is None
    again = fits.run(1, steps=43, checkpoints=folder)
    fits.assert_same_bits(again, fits.run(1, steps=43))


def test_a_checkpoint_in_the_first_format_is_refused_and_left_alone(tmp_path):
    objective, guess = LossObjective(fits.quadratic), [0.0, 4.0]
    fit(objective, guess, fits.ADAM, config=FitConfig(finish="none", steps=5), checkpoints=tmp_path)
    file = tmp_path / "5" / "meta" / "metadata"
    meta = json.loads(file.read_text())
    meta["identity"].pop("format")
    meta.pop("sha256")
    file.write_text(json.dumps(meta))
    with pytest.raises(InputError, match="another fit:\n  format: 1 -> 3"):
        fit(
            objective,
            guess,
            fits.ADAM,
            config=FitConfig(finish="none", steps=9),
            checkpoints=tmp_path,
        )
    assert (tmp_path / "5").is_dir()


@pytest.mark.slow
def test_a_save_that_fails_is_never_called_saved(tmp_path, caplog):
    """One line names the path and the reason, and the steps that were told of are there."""
    caplog.set_level("INFO", "kdescent_dist")
    folder = tmp_path / "checkpoints"

    def spoil():
        shutil.rmtree(folder)
        folder.write_text("no folder any more")

    purge = Purge(spoil)
    message = rf"step \d+ could not be saved in {folder}: this folder is gone"
    with pytest.raises(CheckpointError, match=message):
        fits.run(1, steps=60, checkpoints=folder, callbacks=[purge], saved=purge.saved, **RARE)
    assert purge.steps == [18]
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("saved")]
    assert told == ["saved checkpoint of step 18"]


@pytest.mark.parametrize(
    ("cost", "waits"), [(0.012, [2.0, 5.0, 5.0]), (0.1, [2.0, 20.0, 20.0]), (3.0, [2.0, 60.0])]
)
def test_the_first_save_comes_early_and_the_interval_follows_the_cost(cost, waits):
    now = [0.0]
    interval = SaveInterval(60.0, lambda: now[0])
    now[0] = 99.0  # of compiling
    interval.begin()
    for wait in waits:
        now[0] += wait - 0.01
        assert not interval.due()
        now[0] += 0.02
        assert interval.due()
        interval.saved(cost)


def test_saves_by_wall_time_come_at_least_as_often_as_asked():
    now = [0.0]
    interval = SaveInterval(0.5, lambda: now[0])
    now[0] = 0.6
    assert interval.due()
    interval.saved(9.0)
    now[0] = 1.2
    assert interval.due()
    never = SaveInterval(None, lambda: now[0])
    now[0] = 1e9
    assert not never.due()
