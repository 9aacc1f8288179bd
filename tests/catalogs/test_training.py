"""The training catalog: rows picked from all processes, and limits of all rows."""

import numpy as np
import pytest

from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.distributed.row_blocks import RowBlocks
from support.thread_processes import in_threads

ROWS = 1000
RNG = np.random.default_rng(2)
COLUMNS = {
    "x": RNG.normal(size=ROWS).astype(np.float32),
    "weights": RNG.normal(size=ROWS),  # a column may have any name
}
WEIGHTS = RNG.uniform(size=ROWS).astype(np.float32)


def part_of(processes):
    blocks = RowBlocks(ROWS, 128, processes)
    rows = slice(*blocks.rows)
    columns = {name: values[rows] for name, values in COLUMNS.items()}
    return TrainingCatalog(columns, WEIGHTS[rows], float(WEIGHTS.sum()), blocks)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("rows", [[], [5], [0, 127, 128, 500, 999]])
def test_picked_rows_are_the_same_in_every_process(number, rows):
    chosen = np.array(rows, int)
    for columns, weights in in_threads(number, lambda p: part_of(p).pick(chosen)):
        assert columns.keys() == COLUMNS.keys()
        for name, values in columns.items():
            np.testing.assert_array_equal(values, COLUMNS[name][chosen])
            assert values.dtype == COLUMNS[name].dtype
        np.testing.assert_array_equal(weights, WEIGHTS[chosen])


@pytest.mark.parametrize("number", [1, 3])
def test_a_sample_is_spread_evenly_over_all_rows(number, monkeypatch):
    for size, rows in ((100, slice(None, None, 10)), (5000, slice(None))):
        monkeypatch.setattr("kdescent_dist.catalogs.training.SAMPLE_ROWS", size)
        for columns, weights in in_threads(number, lambda p: part_of(p).sample()):
            np.testing.assert_array_equal(columns["x"], COLUMNS["x"][rows])
            np.testing.assert_array_equal(weights, WEIGHTS[rows])


@pytest.mark.parametrize("number", [1, 3])
def test_limits_are_those_of_all_rows(number):
    expected = {name: (values.min(), values.max()) for name, values in COLUMNS.items()}
    assert in_threads(number, lambda p: part_of(p).limits()) == [expected] * number
