"""Phases of a run: done once, resumed after a kill, and told in one form."""

import numpy as np
import pytest

from kdescent_dist.config.errors import Preempted
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.phases import Phase, PhaseStore
from kdescent_dist.run.result import phases_of, told, with_phases

OF = {"code.model": "abc", "params": [1.0, float("nan")]}


class Killed(BaseException):
    """Stands for a kill."""


class Start:
    """A start of a run in a folder, and what it tells."""

    def __init__(self, folder, before=None):
        self.written = []
        self.store = PhaseStore(RunDirectory(folder), Processes.of(None), before or {}, self._write)
        self.calls = []

    def _write(self):
        self.written.append(self.store.records)

    def run(self, name="errors", result=7, ends=None, **options):
        def work(tell):
            self.calls.append(name)
            tell(1)
            if ends is not None:
                raise ends
            tell(2)
            return result

        return self.store.run(Phase(name, work, **{"parts": 2, "of": OF, **options}))


def test_a_phase_is_done_once_and_its_result_is_kept(tmp_path):
    first, second = Start(tmp_path), Start(tmp_path)
    assert first.run(result={"a": [0.1, None]}) == {"a": [0.1, None]}
    assert second.run(result="another") == {"a": [0.1, None]}
    assert (first.calls, second.calls) == (["errors"], [])
    assert second.store.records["errors"]["status"] == "done"


def test_all_phases_are_told_in_the_same_form(tmp_path):
    start = Start(tmp_path)
    start.run("steps", of=None)
    start.run("errors", parts=3)
    forms = {tuple(record) for written in start.written for record in written.values()}
    assert forms == {("status", "done", "parts", "starts", "seconds")}
    steps = [(w["steps"]["status"], w["steps"]["done"]) for w in start.written[:4]]
    assert steps == [("running", 0), ("running", 1), ("running", 2), ("done", 2)]
    assert start.store.records["errors"]["done"] == 2  # of 3: it has ended before its last part


def test_a_phase_that_tells_no_parts_is_done_as_a_whole(tmp_path):
    start = Start(tmp_path)
    start.store.run(Phase("comparison", lambda tell: {}, of=OF))
    known = start.store.records["comparison"]
    assert (known["done"], known["parts"], known["starts"]) == (1, 1, 1)


def test_a_phase_that_keeps_its_own_state_is_asked_at_every_start(tmp_path):
    for _ in range(2):
        start = Start(tmp_path)
        start.run("steps", of=None)
        assert start.calls == ["steps"]
    assert not (tmp_path / "phases").exists()


@pytest.mark.parametrize(
    ("ends", "status"), [(Killed(), "failed"), (ValueError("x"), "failed")], ids=["kill", "error"]
)
def test_after_a_kill_the_phase_is_resumed_and_those_before_it_are_not_done_again(
    tmp_path, ends, status
):
    first = Start(tmp_path)
    first.run("errors")
    with pytest.raises(type(ends)):
        first.run("comparison", ends=ends)
    assert first.store.records["comparison"]["status"] == status
    assert first.store.records["comparison"]["done"] == 1
    second = Start(tmp_path, first.store.records)
    assert second.store.records["comparison"]["status"] == "waiting"
    second.run("errors")
    second.run("comparison")
    assert second.calls == ["comparison"]
    assert second.store.records["errors"]["starts"] == 1
    assert second.store.records["comparison"]["starts"] == 2


def test_a_phase_that_a_signal_stops_is_preempted(tmp_path):
    start = Start(tmp_path)
    with pytest.raises(Preempted):
        start.run(ends=Preempted("stop", 3, np.zeros((0, 1)), np.zeros(0)))
    assert start.written[-1]["errors"]["status"] == "preempted"


def test_a_result_that_was_kept_under_earlier_names_of_keys_is_taken(tmp_path):
    Start(tmp_path).run(result=1, of={**OF, "config.loss.kde": 2.0})
    assert Start(tmp_path).run(result=2, of={**OF, "config.loss.weights.kde": 2.0}) == 1
    assert Start(tmp_path).run(result=3, of={**OF, "config.loss.weights.kde": 3.0}) == 3


@pytest.mark.parametrize("change", [{"params": [1.5, float("nan")]}, {"code.model": "d"}])
def test_what_is_of_another_fit_is_done_anew(tmp_path, change):
    Start(tmp_path).run(result=1)
    assert Start(tmp_path).run(result=2, of={**OF, **change}) == 2
    assert Start(tmp_path).run(result=3, of={**OF, **change}) == 2


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff", b'{"of": 1'])
def test_a_damaged_result_is_computed_anew(tmp_path, damage):
    Start(tmp_path).run(result=1)
    (tmp_path / "phases/errors.json").write_bytes(damage)
    assert Start(tmp_path).run(result=2) == 2


def test_a_result_without_its_arrays_is_computed_anew(tmp_path):
    options = {"files": ("diagnostics",), "result": {}}
    first = Start(tmp_path)
    first.run(**options)
    RunDirectory(tmp_path).write_arrays("diagnostics", {"a": np.zeros(2)})
    second = Start(tmp_path)
    second.run(**options)
    (tmp_path / "diagnostics.npz").unlink()
    third = Start(tmp_path)
    third.run(**options)
    assert (second.calls, third.calls) == ([], ["errors"])


def test_a_result_that_is_not_worth_keeping_is_tried_again(tmp_path):
    first = Start(tmp_path)
    assert first.run(result=None, keep=lambda result: result is not None) is None
    assert first.store.records["errors"]["status"] == "failed"
    assert Start(tmp_path).run(result=2) == 2


def test_seconds_add_up_over_starts_and_altered_records_count_as_not_there(tmp_path):
    before = {"errors": {"seconds": 100.0, "starts": "x"}, "steps": 5}
    start = Start(tmp_path, before)
    start.run()
    assert list(start.store.records) == ["errors"]
    assert start.store.records["errors"]["seconds"] >= 100
    assert start.store.records["errors"]["starts"] == 1


def test_a_run_that_ends_at_once_ends_the_phase_that_was_running(tmp_path):
    start = Start(tmp_path)
    start.run("pretraining")
    store = start.store

    def work(tell):
        store.end("failed")
        assert store.records["steps"]["status"] == "failed"

    store.run(Phase("steps", work))
    assert store.records["pretraining"]["status"] == "done"


def test_phases_of_a_later_start_stand_beside_those_of_the_answer():
    before = {"status": "done", "step": 60, "phases": {"steps": {"status": "done"}}}
    now = {"status": "running", "step": 60, "phases": {"steps": {"status": "running"}}}
    after = told(before, now)
    assert after["phases"] == before["phases"]
    assert phases_of(after) == now["phases"]
    later = with_phases(after, {"steps": {"status": "preempted"}})
    assert later["phases"] == before["phases"]
    assert phases_of(later)["steps"]["status"] == "preempted"
    assert phases_of({"phases": [1]}) == {}
