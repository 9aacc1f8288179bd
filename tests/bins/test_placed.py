"""A statistic of another package that places its points in the training sample."""

import numpy as np
import pytest
from scipy.stats import norm

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.counts.statistic import Statistic
from kdescent_dist.counts.statistics import statistic
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.row_blocks import RowBlocks
from support.thread_processes import in_threads

SOURCE = """
from dataclasses import dataclass
import numpy as np
from kdescent_dist.counts.points import Given, Points
from kdescent_dist.counts.statistic import Statistic

@dataclass(frozen=True)
class Quantiles(Statistic):
    name = "quantiles"
    parts = ("",)

    def read(self, options, columns):
        (column,) = columns
        return Given(number=options["cells"], **options.get("also", {}))

    def place(self, key, density, number, options):
        if options.get("fails"):
            return Points({"low": 1 / 0}, {})
        drawn = density.draw(key, options["draws"])[:, 0]
        edges = np.quantile(drawn, np.arange(number + 1) / number)
        edges[[0, -1]] = density.mean[0] + [-1e3, 1e3]
        return Points({"low": edges[:-1], "high": edges[1:]}, {})

    def values(self, columns, points):
        low, high = points.each["low"][:, None], points.each["high"][:, None]
        return [((columns[0] >= low) & (columns[0] < high)).astype(columns[0].dtype)]

theirs = Quantiles()
"""
ROWS, BLOCK, CELLS, DRAWS = 1130, 100, 5, 4000
RNG = np.random.default_rng(2)
COLUMNS = {
    "x": RNG.gamma(2.0, size=ROWS).astype(np.float32),
    "z": np.sort(RNG.uniform(size=ROWS)).astype(np.float32),
}
WEIGHTS = np.where(COLUMNS["x"] > 2, 3.0, 1.0).astype(np.float32)


@pytest.fixture(autouse=True)
def installed(plugin):
    plugin("kdescent_dist.statistics", SOURCE, "theirs")


def bins(**options):
    config = BinsConfig(
        columns=["x"],
        edges={"z": [0.0, 0.5, 1.0]},
        softness=0.0,
        kernels=2,
        fourier=0,
        pretrain_kernels=10,
        pretrain_fourier=1,
        statistics={"quantiles": {"cells": CELLS, "draws": DRAWS, **options}},
    )
    return expand_bins({"b": config})


def counted(processes, bin_, block=BLOCK, seed=3):
    rows = RowBlocks(ROWS, block, processes)
    mine = slice(*rows.rows)
    columns = {name: values[mine] for name, values in COLUMNS.items()}
    return pretrain_bin(bin_, TrainingCatalog.of(columns, WEIGHTS[mine], rows), seed=seed)


def alone(bin_, **options):
    return counted(Processes.of(None), bin_, **options).further["quantiles"]


def test_edges_at_quantiles_are_those_of_the_weighted_density_in_each_bin():
    """Against the distribution function of the density estimate, within 4 errors of the draws."""
    found = [alone(bin_, block=ROWS) for bin_ in bins()]
    assert not np.array_equal(found[0].points.each["high"], found[1].points.each["high"])
    for counts, inside in zip(found, (COLUMNS["z"] < 0.5, COLUMNS["z"] >= 0.5), strict=True):
        assert (counts.number, counts.drawn, counts.every) == (CELLS, CELLS, True)
        x, w = COLUMNS["x"][inside], WEIGHTS[inside].astype(float)
        edges = [*counts.points.each["low"].astype(np.float32), np.inf]
        expected = np.histogram(x, edges, weights=w)[0]
        np.testing.assert_allclose(counts.values[:, 0], expected, rtol=1e-6)
        width = np.sqrt(np.cov(x, aweights=w)) * (w.sum() ** 2 / (w @ w)) ** -0.2
        below = norm.cdf((np.array(edges)[1:, None] - x) / width) @ w / w.sum()
        level = np.arange(1, CELLS + 1) / CELLS
        assert np.all(np.abs(below - level) <= 4 * np.sqrt(level * (1 - level) / DRAWS) + 1e-6)


@pytest.mark.slow
def test_points_and_counts_have_the_same_bits_in_any_number_of_processes():
    bin_ = bins()[0]
    one = alone(bin_)
    for pretrained in in_threads(3, lambda processes: counted(processes, bin_)):
        other = pretrained.further["quantiles"]
        for name, values in one.points.each.items():
            np.testing.assert_array_equal(other.points.each[name], values)
        np.testing.assert_array_equal(other.values, one.values)
        np.testing.assert_array_equal(other.errors, one.errors)
    assert not np.array_equal(alone(bin_, seed=4).points.each["high"], one.points.each["high"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fails": True}, "bin .* of columns x: statistics.quantiles: ZeroDivisionError"),
        ({"also": {"values": np.ones((3, 1))}}, "counts are given, but no points"),
    ],
)
def test_points_that_cannot_be_placed_are_told_with_their_statistic(options, message):
    with pytest.raises(InputError, match=message):
        alone(bins(**options)[0])


def test_a_statistic_that_neither_has_points_nor_places_any_is_told(monkeypatch):
    monkeypatch.setattr(type(statistic("quantiles")), "place", Statistic.place)
    with pytest.raises(InputError, match="the options give no points, and the statistic places no"):
        alone(bins()[0])
