"""The history of a fit in memory."""

import numpy as np

from kdescent_dist.fitting.history import GrowingHistory, History


def rows(first, last):
    values = np.arange(first, last, dtype=np.float32)
    return History(np.stack([values, -values], axis=1), 2 * values, 3 * values)


def test_a_history_grows_without_a_copy_of_all_of_it_each_time():
    history = GrowingHistory(rows(0, 3))
    copies, before = 0, history.part().loss
    for first in range(3, 1000, 7):
        early = history.part()
        history.append(rows(first, first + 7))
        copies += not np.shares_memory(before, history.part().loss)
        before = history.part().loss
        assert np.array_equal(early.loss, rows(0, first).loss)
    assert copies < 10
    expected = rows(0, first + 7)
    for name in ("params", "loss", "grad_norm"):
        assert np.array_equal(getattr(history.part(), name), getattr(expected, name))
