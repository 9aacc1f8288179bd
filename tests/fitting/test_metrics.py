"""The metrics of a run lose no row to a kill, and one to damage."""

import os

import numpy as np
import pytest

from kdescent_dist.fitting.callbacks import Event, Metrics, read_metrics
from kdescent_dist.fitting.history import History


def rows(first, last):
    history = History(np.zeros((last - first, 1)), np.arange(first, last), np.zeros(last - first))
    return Event(last, 100, first, history, 1.0, 10)


def test_a_kill_within_the_cut_of_the_metrics_loses_no_row(tmp_path, monkeypatch):
    file = tmp_path / "metrics.jsonl"
    Metrics(file)(rows(0, 50))

    def killed(*_):
        raise KeyboardInterrupt

    # Nothing is written to the file itself before the new one takes its place.
    with monkeypatch.context() as context:
        context.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Metrics(file)(rows(40, 60))
    assert [row["step"] for row in read_metrics(file)] == list(range(50))
    Metrics(file)(rows(40, 60))
    assert [row["step"] for row in read_metrics(file)] == list(range(60))


@pytest.mark.parametrize("damage", [b"\xff", b"}", b"[1]\n", b'{"step": "x"}\n', b""])
def test_a_damaged_row_of_the_metrics_costs_that_row_alone(tmp_path, damage):
    file = tmp_path / "metrics.jsonl"
    Metrics(file)(rows(0, 9))
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:4], damage + lines[4][len(damage) :], *lines[5:]]))
    steps = {row["step"] for row in read_metrics(file)}
    assert steps >= set(range(9)) - {4}
    Metrics(file)(rows(9, 12))
    assert {row["step"] for row in read_metrics(file)} >= set(range(12)) - {4}
