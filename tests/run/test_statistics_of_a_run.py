"""Options of further statistics are read once in a run, and their counts are kept."""

import importlib
import logging
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from kdescent_dist.bins import cross_sums, further_counts
from kdescent_dist.bins import pretrained as kernel_counts
from kdescent_dist.bins.further import read_all
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config import registry
from kdescent_dist.config.schema import (
    BinsConfig,
    CatalogConfig,
    Config,
    ModelConfig,
    ParameterConfig,
    SamplesConfig,
)
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.models.gaussian import training_catalog
from kdescent_dist.run.bins import find_bins, pretrain_bins
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.phases import PhaseStore
from kdescent_dist.run.prepare import first_parameters, prepare
from kdescent_dist.run.validate import check

SOURCE = """
from dataclasses import dataclass
import numpy as np
from kdescent_dist.counts.points import Given, Points
from kdescent_dist.counts.statistic import Statistic

READ = []

@dataclass(frozen=True)
class Near(Statistic):
    name = "near"
    parts = ("",)

    def read(self, options, columns):
        READ.append(options)
        return Given(Points({"at": np.load(options["table"])}, {}))

    def values(self, columns, points):
        square = sum((c[None] - p[:, None]) ** 2 for c, p in zip(columns, points.each["at"].T))
        return [1 / (1 + square)]

theirs = Near()
"""
TRUTH = {"mean_1": 1.6, "mean_2": 2.9, "variance_1": 0.8, "variance_2": 1.25, "correlation": 0.0}


@pytest.fixture
def config(plugin, tmp_path):
    plugin("kdescent_dist.statistics", SOURCE, "theirs")
    np.save(tmp_path / "at.npy", np.array([[1.5, 3.0], [0.0, 2.0]]))
    catalog = {name: np.asarray(v) for name, v in training_catalog(TRUTH, 300, 1).items()}
    np.savez(tmp_path / "catalog.npz", **catalog)
    bins = BinsConfig(
        columns=["x1", "x2"],
        kernels=3,
        fourier=2,
        pretrain_kernels=10,
        pretrain_fourier=10,
        statistics={"near": {"table": str(tmp_path / "at.npy")}},
    )
    return Config(
        model=ModelConfig("kdescent_dist.models.gaussian.gaussian"),
        parameters={name: ParameterConfig(value) for name, value in TRUTH.items()},
        catalog=CatalogConfig(path=str(tmp_path / "catalog.npz")),
        samples=SamplesConfig(200),
        bins={"all": bins},
    )


def start(config, folder):
    """The bins of a start of a run, up to its first step."""
    directory = RunDirectory(folder)
    folder.mkdir(exist_ok=True)
    processes = Processes.with_devices(jax.devices())
    phases = PhaseStore(directory, processes, {}, lambda: None)
    parameters, found = first_parameters(config), check(config)
    return prepare(config, parameters, directory, processes, lambda what: None, phases, found)


def test_a_table_is_read_once_in_a_run(config, tmp_path):
    import their_package

    start(config, tmp_path / "run")
    assert len(their_package.READ) == 1


@pytest.fixture
def starts(config, tmp_path, monkeypatch):
    """Pretrains the bins of a config as a start of one run does; tells what was counted anew."""
    calls = []

    def spied(module, name, what):
        work = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: calls.append(what) or work(*given))

    spied(further_counts, "_counted", "near")
    spied(kernel_counts, "_count", "kernels")
    with np.load(config.catalog.path) as file:
        columns = dict(file)

    def start(config=config, weights=None):
        calls.clear()
        training = TrainingCatalog.of(columns, weights)
        found = read_all(config.bins)
        bins, _ = find_bins(config.bins, training, found)
        mesh, directory = make_mesh(devices=jax.devices()[:1]), RunDirectory(tmp_path)
        (one,) = pretrain_bins(config, bins, training, mesh, directory, found, lambda bin_: None)
        return calls.copy(), one.statistics["near"]

    return start


def with_options(config, **options):
    (bins,) = config.bins.values()
    of_near = {**bins.statistics["near"], **options}
    return replace(config, bins={"all": replace(bins, statistics={"near": of_near})})


def test_a_second_start_takes_the_counts_of_the_first(starts):
    calls, first = starts()
    assert calls == ["kernels", "near"]
    calls, second = starts()
    assert calls == []
    assert (second.drawn, second.every, second.given) == (first.drawn, True, False)
    for name in ("values", "errors"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    np.testing.assert_array_equal(second.points.each["at"], first.points.each["at"])


def test_a_changed_option_or_table_is_counted_anew_and_the_kernels_are_not(starts, config):
    _, first = starts()
    assert starts(with_options(config, also=3))[0] == ["near"]
    np.save(config.bins["all"].statistics["near"]["table"], np.array([[1.0, 3.0], [0.0, 2.0]]))
    calls, second = starts()
    assert calls == ["near"]
    assert first.values[0] != second.values[0]
    assert first.values[1] == second.values[1]


def test_changed_code_is_counted_anew(starts, tmp_path, monkeypatch):
    _, first = starts()
    (file,) = tmp_path.glob("installed/their_package.py")
    file.write_text(SOURCE.replace("1 / (1 + square)", "2.0 / (1 + square)"))
    monkeypatch.delitem(sys.modules, "their_package")
    importlib.invalidate_caches()
    registry.entries.cache_clear()
    calls, second = starts()
    assert calls == ["near"]
    np.testing.assert_array_equal(second.values, 2 * first.values)


@pytest.mark.parametrize("damage", ["cut", "other arrays"])
def test_a_damaged_file_is_told_and_counted_anew(starts, tmp_path, caplog, damage):
    _, first = starts()
    (file,) = (tmp_path / "pretrain").glob("all-near-*.npz")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    else:
        np.savez(
            file, values=first.values[:1], errors=first.errors, **{"each/at": np.zeros((2, 2))}
        )
    with caplog.at_level(logging.WARNING):
        calls, second = starts()
    assert calls == ["near"]
    assert "cannot be used" in caplog.text
    np.testing.assert_array_equal(second.values, first.values)
    assert starts()[0] == []


def test_sums_for_errors_that_early_versions_lack_are_counted_once(
    starts, tmp_path, caplog, monkeypatch
):
    """Kernels, modes and the further statistic are taken from their files."""
    counted = []
    for name in ("count_kernels", "count_modes", "count_further_rows"):
        work = getattr(cross_sums, name)
        monkeypatch.setattr(cross_sums, name, lambda *g, w=work, n=name: counted.append(n) or w(*g))
    weights = np.linspace(0.5, 1.5, 300)
    assert starts(weights=weights)[0] == ["kernels", "near", "near"]
    (file,) = (tmp_path / "pretrain").glob("all-cross-*.npz")
    with np.load(file) as saved:
        first = dict(saved)
    for damage in (file.unlink, lambda: file.write_bytes(file.read_bytes()[:100])):
        damage()
        counted.clear()
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert starts(weights=weights)[0] == ["near"]
        assert counted == ["count_kernels", "count_modes", "count_further_rows"]
        assert "all: sums for its errors were missing, and are counted" in caplog.text
        with np.load(file) as saved:
            for name, values in first.items():
                np.testing.assert_array_equal(saved[name], values)
    assert starts(weights=weights)[0] == []
    assert len(counted) == 3


def test_rows_without_weights_need_no_sums_for_errors(starts, tmp_path):
    starts()
    assert not list((tmp_path / "pretrain").glob("*-cross-*"))
