"""Standardized columns: against NumPy, for any number of processes, and in a run."""

import numpy as np
import pytest

from kdescent_dist.catalogs.catalog import load_catalog, open_catalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, CatalogConfig, Config
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.run.catalogs import RunCatalogs
from support.thread_processes import in_threads

ROWS = 150_000  # three chunks
MASKED = {"where": "x < 12.5", "weights": "w", "standardize": ["s", "x"]}
MASKED |= {"columns": {"s": "x + y"}}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    return {
        "x": rng.normal(12.0, 0.5, ROWS),
        "y": rng.exponential(0.1, ROWS),
        "w": rng.uniform(0.5, 2.0, ROWS),
    }


@pytest.fixture(scope="module")
def path(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("standardized") / "table.npz"
    np.savez(path, **table)
    return str(path)


def expected(values, weights):
    mean = np.average(values, weights=weights)
    return (values - mean) / np.sqrt(np.average((values - mean) ** 2, weights=weights))


def test_mean_and_deviation_are_weighted_and_of_the_selected_rows(table, path):
    good = table["x"] < 12.5
    x, y, w = (table[name][good] for name in "xyw")
    catalog = load_catalog(CatalogConfig(path=path, **MASKED), required=["x", "y", "s"])
    np.testing.assert_allclose(catalog.columns["x"], expected(x, w), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(catalog.columns["s"], expected(x + y, w), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(catalog.columns["y"], y)


def test_a_subsample_is_standardized_as_all_rows_are(path):
    whole = load_catalog(CatalogConfig(path=path, **MASKED), required=["x", "s"])
    config = CatalogConfig(path=path, **MASKED, subsample=500)
    drawn = load_catalog(config, required=["x", "s"])
    rows = np.searchsorted(whole.weights, drawn.weights, sorter=np.argsort(whole.weights))
    rows = np.argsort(whole.weights)[rows]
    for name in ("x", "s"):
        np.testing.assert_array_equal(drawn.columns[name], whole.columns[name][rows])


@pytest.mark.parametrize("changes", [{}, {"drop_non_finite": True}, {"subsample": 40_000}])
def test_any_number_of_processes_finds_the_same_bits(path, changes):
    config = CatalogConfig(path=path, **MASKED, **changes)

    def standardized(processes):
        reader = open_catalog(config, required=["x", "s"], dtype=np.float32, processes=processes)
        part = reader.rows(1000 * processes.index, 1000 * processes.index + 1000)
        return reader.scales, part.columns["s"]

    scales, _ = standardized(Processes(()))
    whole = open_catalog(config, required=["x", "s"], dtype=np.float32).rows().columns["s"]
    for count in (2, 5):
        for i, (found, part) in enumerate(in_threads(count, standardized)):
            assert found == scales
            np.testing.assert_array_equal(part, whole[1000 * i : 1000 * i + 1000])


@pytest.mark.parametrize(
    ("standardize", "reason"),
    [
        (["xx"], "'xx' is not a column that is used: did you mean x"),
        (["far"], "'far' varies too little around its mean 1e\\+09"),
    ],
)
def test_what_cannot_be_standardized_is_refused(path, standardize, reason):
    config = CatalogConfig(path=path, columns={"far": "1e9 + y"}, standardize=standardize)
    with pytest.raises(InputError, match=rf"catalog\.standardize: {reason}"):
        load_catalog(config, required=["x", "far"])


def test_a_run_standardizes_its_catalogs_and_tells_how(table, path):
    config = Config(
        bins={"all": BinsConfig(columns=["x", "y"])},
        catalog=CatalogConfig(path=path, standardize=["x"]),
    )
    catalogs = RunCatalogs(config, Processes(()))
    training = catalogs.training()
    x = training.columns["x"]
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected(table["x"], np.ones(ROWS)), rtol=2e-5, atol=2e-5)
    told = catalogs.facts["catalog"]["standardized"]
    assert told == {"x": pytest.approx({"mean": table["x"].mean(), "deviation": table["x"].std()})}
