"""Options of further statistics are read once in a run, and their counts are kept."""

import jax
import numpy as np
import pytest

from kdescent_dist.config.schema import (
    BinsConfig,
    CatalogConfig,
    Config,
    ModelConfig,
    ParameterConfig,
    SamplesConfig,
)
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.models.gaussian import training_catalog
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.phases import PhaseStore
from kdescent_dist.run.prepare import prepare
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
    return prepare(config, directory, processes, lambda what: None, phases, check(config))


def test_a_table_is_read_once_in_a_run(config, tmp_path):
    import their_package

    start(config, tmp_path / "run")
    assert len(their_package.READ) == 1
