"""Early stops, and the answer of the steps: the same for any dispatches, restarts and devices."""

import logging
import time
from types import SimpleNamespace

import numpy as np
import pytest

from kdescent_dist.config.schema import FitConfig, StopConfig
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting import loop
from kdescent_dist.fitting.answer import CANDIDATES, answer_of
from kdescent_dist.fitting.stops import Stops
from support import fits, problems
from support.fits import ADAM, BOUNDS, fit_once_compiled, objective

pytestmark = pytest.mark.as_shipped


def run(stop, per_call=10, devices=1, steps=40, answer="last", **options):
    return fits.run(devices, steps, per_call, {"stop": stop, "answer": answer}, **options)


@pytest.fixture(scope="module")
def whole():
    """A fit without a stop."""
    return run(StopConfig())


@pytest.fixture(scope="module")
def target(whole):
    """A loss that the mean of ten steps falls below for the first time after 20 steps."""
    means = np.mean(whole.losses[:40].reshape(4, 10), axis=1, dtype=float)
    assert means[0] > means[1]
    return StopConfig(target=0.5 * (means[0] + means[1]))


@pytest.mark.parametrize("per_call", [3, 10])
def test_a_target_ends_the_fit_at_the_same_step_of_any_dispatch(whole, target, per_call):
    ended = run(target, per_call)
    assert int(ended.state.step) == 20
    assert ended.message.startswith("the target: mean loss ")
    assert ended.params.tobytes() == whole.params[:21].tobytes()


def test_a_plateau_ends_the_fit_at_the_end_of_a_window(whole):
    """With a step as the window, the fit ends after the first step whose loss rises."""
    rising = 2 + int(np.flatnonzero(np.diff(whole.losses) >= 0)[0])
    ended = run(StopConfig(plateau=1))
    assert int(ended.state.step) == rising
    assert ended.message.startswith("a plateau: mean loss ")
    assert ended.params.tobytes() == whole.params[: rising + 1].tobytes()


def test_a_fit_that_has_stopped_stays_stopped_and_goes_on_without_the_stop(tmp_path, whole, target):
    one = run(target, checkpoints=tmp_path)
    again = run(target, 3, checkpoints=tmp_path)
    assert int(again.state.step) == int(one.state.step) == 20
    assert again.params.tobytes() == one.params.tobytes()
    further = run(StopConfig(), devices=4, checkpoints=tmp_path)
    assert further.params.tobytes() == whole.params.tobytes()


def test_a_stop_by_time_leaves_a_fit_that_goes_on(tmp_path, whole):
    ended = run(StopConfig(seconds=1e-9), checkpoints=tmp_path)
    assert int(ended.state.step) == 0
    assert ended.message == "the time: fit.stop.seconds=1e-09"
    further = run(StopConfig(seconds=1e9), checkpoints=tmp_path)
    assert further.params.tobytes() == whole.params.tobytes()


def test_the_clock_of_the_primary_counts():
    stop = StopConfig(seconds=1.0)
    primary, other = (SimpleNamespace(is_primary=first) for first in (True, False))
    late = -1e9
    assert Stops(stop, primary, late).reason(3, None)
    assert not Stops(stop, other, late).reason(3, None)
    assert not Stops(stop, Processes(())).reason(3, None)


def test_the_clock_begins_after_the_compilation(monkeypatch):
    """Here, compiling takes longer than the steps may."""
    patience, compiled = 1.0, []

    def slow(self, state, count, moving, call=loop._Loop._run):
        if not compiled:
            time.sleep(patience)
        compiled.append(count)
        return call(self, state, count, moving)

    run(StopConfig())  # whose programs are those of the next fit
    monkeypatch.setattr(loop._Loop, "_run", slow)
    ended = run(StopConfig(seconds=patience), steps=3)
    assert compiled[0] == 0
    assert int(ended.state.step) == 3


def test_no_dispatch_goes_past_a_step_at_which_to_look():
    stops = Stops(StopConfig(plateau=7, target=0.0), Processes(()))
    assert [stops.left(step) for step in (0, 3, 7, 9, 10, 14)] == [7, 4, 3, 1, 4, 6]
    assert Stops(StopConfig(), Processes(())).left(3) is None


@pytest.mark.parametrize("answer", ["average", "best"])
def test_the_answer_has_the_same_bits_on_any_mesh(whole, answer):
    one, four = run(StopConfig(), answer=answer), run(StopConfig(), devices=4, answer=answer)
    assert one.params.tobytes() == whole.params.tobytes()
    assert one.answer.tobytes() == four.answer.tobytes()
    if answer == "average":
        assert np.allclose(one.answer, whole.params[-4:].mean(axis=0), rtol=1e-6)
    else:
        assert any(np.array_equal(one.answer, params) for params in whole.params)
    assert one.final == dict(zip(problems.NAMES, one.answer.tolist(), strict=True))


def test_the_best_trial_is_that_of_the_lowest_loss_for_the_same_random_numbers():
    """Losses of steps are noise here; the best trial is among the lowest of them."""
    rng = np.random.default_rng(3)
    params = np.linspace(-1, 2, 200, dtype=np.float32)[:, None]
    losses = params[:, 0] ** 2 + 0.02 * rng.normal(size=200)
    params[5], losses[5] = np.nan, np.nan
    asked = []

    def loss(trial, key):
        asked.append(key)
        return float(trial[0] ** 2 + 0.1 * key)

    found = answer_of("best", params, losses, loss)
    assert abs(found[0]) < 0.02
    assert len(asked) == CANDIDATES * 8
    assert set(asked) == set(range(8))
    assert abs(params[np.nanargmin(losses)][0]) > abs(found[0])


def test_the_mean_leaves_out_trials_that_are_lost(caplog):
    params = np.arange(40, dtype=np.float32)[:, None]
    params[37] = np.nan
    with caplog.at_level(logging.WARNING):
        found = answer_of("average", params, params[:, 0], lambda *_: 0.0)
    assert found == pytest.approx([(36 + 38 + 39) / 3])
    assert "fit.answer=average: 1 of its 4 trials are lost" in caplog.text
    assert answer_of("average", params[:3], params[:3, 0], lambda *_: 0.0) == [2]


def test_the_finish_begins_at_the_answer(monkeypatch):
    begun = []
    monkeypatch.setattr(loop, "finish", lambda _, start, **options: begun.append(start))
    config = FitConfig(steps=20, steps_per_call=10, answer="average")
    given = {"bounds": BOUNDS, "names": problems.NAMES, "config": config}
    one = fit_once_compiled(objective(1), problems.GUESS, ADAM, **given)
    assert np.array_equal(begun[0], one.of_steps)
    assert not np.array_equal(begun[0], one.params[-1])
