"""Warnings about the values of a catalog: each mistake is told, and good columns pass."""

import numpy as np
import pytest

from kdescent_dist.catalogs import column_values
from kdescent_dist.catalogs.column_warnings import column_warnings
from kdescent_dist.config.schema import BinsConfig, CatalogConfig, Config
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.run.catalogs import RunCatalogs
from support.thread_processes import in_threads

ROWS = 3000


def told(processes=None, config=None, dtype=np.float32, compared=("x",), **columns):
    arrays = {name: np.asarray(values, dtype) for name, values in columns.items()}
    processes = processes or Processes(())
    return column_warnings(arrays, compared, config or CatalogConfig(), "catalog", processes)


def normal(**changed):
    values = np.random.default_rng(0).normal(20.0, 1.5, ROWS)
    for rows, value in changed.values():
        values[rows] = value
    return values


@pytest.mark.parametrize("kind", ["normal", "uniform", "exponential", "laplace", "lognormal"])
def test_nothing_is_told_of_a_good_column(kind):
    draw = getattr(np.random.default_rng(1), kind)
    assert told(x=draw(size=ROWS)) == []
    assert told(x=[]) == []


def test_a_value_far_from_the_others_is_taken_for_a_sentinel():
    values = normal(missing=(slice(None, None, 50), -99.0))
    (line,) = told(x=values)
    assert line.startswith(
        "catalog: 2% of the rows have x = -99: if that stands for a missing value, set "
        "catalog.sentinel={x: -99}; "
    )
    derived = CatalogConfig(columns={"x": "g - r"})
    (line,) = told(config=derived, x=values)
    assert "name it in catalog.sentinel; " in line


def test_a_common_value_within_the_others_is_told_if_it_is_common_enough():
    assert told(x=normal(some=(slice(0, 50), 20.0))) == []
    (line,) = told(x=normal(some=(slice(0, 100), 20.0)))
    assert "3% of the rows have x = 20" in line


def test_a_few_outliers_are_told():
    (line,) = told(x=normal(one=(7, 1e4)))
    assert "x has outliers: its standard deviation 182 is" in line
    assert "catalog.where" in line
    assert told(compared=(), x=normal(one=(7, -1e4))) == []
    (line,) = told(x=normal(one=(7, -1e4)))
    assert "x has outliers" in line


def test_a_discrete_column_is_told_if_it_is_compared():
    values = np.random.default_rng(0).integers(0, 12, ROWS)
    (line,) = told(x=values)
    assert "x has only 12 different values" in line
    assert told(compared=(), x=values) == []
    values[::20] = -99
    first, second = told(x=values)
    assert "x = -99" in first
    assert "different values" in second


def test_an_offset_is_told_in_single_precision():
    days = 2_459_853.25 + 10.0 * np.random.default_rng(0).normal(size=ROWS)
    (line,) = told(x=days, compared=())
    assert "subtract an offset here and in the model, catalog.columns={x: x - 2.46e+06}" in line
    assert "runtime.x64=true" in line
    assert told(dtype=np.float64, x=days) == []
    (line,) = told(config=CatalogConfig(columns={"x": "jd / 1"}), x=days, compared=())
    assert "x: (jd / 1) - 2.46e+06" in line


@pytest.mark.parametrize("mode", ["fit", "inspect"])
def test_a_run_logs_what_an_inspection_prints(tmp_path, caplog, mode):
    path = tmp_path / "table.npz"
    np.savez(path, x=normal(missing=(slice(None, None, 50), -99.0)), z=normal(one=(7, 1e4)))
    bins = {"one": BinsConfig(columns=["x"], edges={"z": [0.0, 30.0]})}
    config = Config(mode=mode, catalog=CatalogConfig(path=str(path)), bins=bins)
    catalogs = RunCatalogs(config, Processes(()))
    catalogs.training()
    (line,) = catalogs.facts["catalog"]["warnings"]
    assert "x = -99" in line
    logged = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert logged == ([line] if mode == "fit" else [])


def test_any_number_of_processes_tells_the_same(monkeypatch):
    values = normal(missing=(slice(None, None, 50), -99.0), one=(7, 1e4))
    expected = told(x=values)
    assert len(expected) == 2

    def of_process(processes):
        first, last = processes.share(ROWS)
        return told(processes, x=values[first:last])

    assert in_threads(3, of_process) == [expected] * 3
    monkeypatch.setattr(column_values, "ROWS", 1000)
    (missing, outliers) = told(x=values)
    assert "x = -99" in missing
    assert "x has outliers" in outliers
