"""What result.json says: the answer stays, whatever becomes of later starts and of the disk."""

import errno
import json
import os

import pytest

from kdescent_dist.run.clock import RunClock
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.result import saved_step, told, was_running, with_saved_step

DONE = {"status": "done", "step": 60, "params": {"a": 1.5}, "loss": 0.1, "errors": {"a": 0.2}}


def test_numbers_of_a_result_that_was_altered_count_as_not_there(tmp_path):
    before = {"continued": None, "starts": "x", "wall_s": None, "first_start": [], "step": "1"}
    times = RunClock(before, tmp_path / "metrics.jsonl").times()
    assert times["starts"] == 1
    assert saved_step(before) == 0
    assert not was_running(before)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1, 2]", b'{"status": "do', b"[" * 10**5])
def test_a_damaged_result_says_nothing(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    assert RunDirectory(tmp_path).result() == {}


def test_errors_are_kept_with_the_parameters_that_they_are_of():
    now = {"status": "done", "step": 60, "params": {"a": 1.5}, "loss": 0.1}
    assert told(DONE, now)["errors"] == {"a": 0.2}
    assert "errors" not in told(DONE, {**now, "step": 70})
    assert "errors" not in told(DONE, {**now, "params": {"a": 1.6}})


def test_other_regions_have_other_errors_and_another_posterior():
    now = {name: DONE[name] for name in ("status", "step", "params", "loss")}
    known = {**DONE, "posterior": {"draws": 40}, "catalog": {"rows": 100}}
    assert told(known, {**now, "catalog": {"rows": 100}})["posterior"] == {"draws": 40}
    after = told(known, {**now, "catalog": {"rows": 100, "regions_digest": "a"}})
    assert not {"errors", "posterior"} & after.keys()


def test_a_later_failure_stands_beside_the_answer():
    now = {"status": "failed", "step": 80, "params": {"a": 9.0}, "message": "why", "starts": 2}
    after = told(DONE, now)
    assert {name: after[name] for name in DONE} == DONE
    assert after["continued"]["message"] == "why"
    assert after["starts"] == 2
    assert saved_step(after) == 80
    assert saved_step(with_saved_step(after, 90)) == 90
    assert told(after, {**DONE, "step": 100})["step"] == 100


def test_the_last_known_parameters_stay_until_there_are_later_ones():
    before = {"status": "preempted", "step": 20, "params": {"a": 1.0}, "loss": 0.5}
    running = told(before, {"status": "running", "step": 20, "params": None, "loss": None})
    assert running["params"] == {"a": 1.0}
    later = told(before, {"status": "failed", "step": 30, "params": {"a": 2.0}, "loss": 0.4})
    assert later["params"] == {"a": 2.0}


def test_a_full_disk_has_room_for_a_result_in_the_place_of_the_last(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path)
    directory.write_result({"status": "running"})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    directory.write_result({"status": "failed"})
    assert directory.result() == {"status": "failed"}
    with pytest.raises(OSError, match="No space"):
        directory.write_result({"message": "x" * 5000})
    assert directory.result() == {"status": "failed"}
    # An answer is never overwritten in place, where half of it might be all that is left.
    (tmp_path / "result.json").write_text(json.dumps(DONE, indent=2))
    with pytest.raises(OSError, match="No space"):
        directory.write_result({"status": "failed"})
    assert directory.result() == DONE
