"""Statistics beside kernels and modes: what a config gives them, and their training counts."""

from dataclasses import replace

import numpy as np
import pytest

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.further import (
    check_errors_known,
    needs_catalog,
    read_all,
    read_statistics,
)
from kdescent_dist.bins.pretrained import known_bin, pretrain_bin
from kdescent_dist.bins.stacks import stack_bins
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.run.bins import find_bins

SOURCE = """
from dataclasses import dataclass
import jax.numpy as jnp
import numpy as np
from kdescent_dist.counts.statistic import Given, Points, Statistic

@dataclass(frozen=True)
class Near(Statistic):
    name = "near"
    parts = ("",)

    def read(self, options, columns):
        at = np.asarray(options["at"], float)
        known = {k: options[k] for k in ("values", "errors", "weight") if k in options}
        return Given(Points({"at": at}, {}), **known)

    def values(self, columns, prepared):
        square = sum((c[None] - p[:, None]) ** 2 for c, p in zip(columns, prepared.each["at"].T))
        return [1 / (1 + square)]

theirs = Near()
"""
AT = [[0.0, 0.0], [1.0, 0.5], [-1.0, 2.0]]


@pytest.fixture(autouse=True)
def installed(plugin):
    plugin("kdescent_dist.statistics", SOURCE, "theirs")


def config(**options):
    return BinsConfig(columns=["x", "y"], kernels=0, fourier=0, statistics={"near": options})


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({"neer": {}}, r"bins.b.statistics=neer: must be one of .*; did you mean near"),
        ({"near": 3}, r"bins.b.statistics.near=3: must be a mapping of options"),
        ({"near": {}}, r"bins.b.statistics.near: KeyError: 'at'"),
        ({"kde": {}}, r"bins.b.statistics.kde: the statistic kde has no options"),
        (
            {"near": {"at": AT, "values": [1.0, 2.0]}},
            r"bins.b.statistics.near: values have shape \(2,\): must be \(3, 1\)",
        ),
        (
            {"near": {"at": AT, "values": [[1.0], [np.nan], [1.0]]}},
            r"bins.b.statistics.near: values: 1 of 3 are not finite",
        ),
        (
            {"near": {"at": AT, "values": np.ones((3, 1)), "errors": -np.ones((3, 1))}},
            r"bins.b.statistics.near: errors: must be at least 0",
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_their_key(statistics, message):
    with pytest.raises(InputError, match=message):
        read_statistics("bins.b", BinsConfig(columns=["x", "y"], statistics=statistics))


def test_a_chi_square_needs_errors():
    def check(bins):
        check_errors_known("bins.b", bins, read_statistics("bins.b", bins))

    check(config(at=AT))
    with pytest.raises(InputError, match=r"bins.b.statistics.near: its counts have no errors"):
        check(config(at=AT, values=np.ones((3, 1))))


def test_a_catalog_is_needed_where_something_is_not_given():
    known = {"at": AT, "values": np.ones((3, 1)), "errors": np.ones((3, 1))}

    def needs(bins):
        return needs_catalog(bins, read_statistics("bins.b", bins))

    assert needs(config(at=AT))
    assert needs(config(**known))  # for the weight in the bin
    assert not needs(config(**known, weight=5.0))
    assert needs(BinsConfig(columns=["x", "y"]))


@pytest.mark.slow
def test_counts_of_the_training_catalog_are_those_of_float64_whoever_holds_its_rows():
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=900).astype(np.float32) for name in ("x", "y", "z")}
    weights = rng.uniform(size=900).astype(np.float32)
    grid = BinsConfig(
        columns=["x", "y"], edges={"z": [-1.0, 1.0]}, softness=0.0, statistics={"near": {"at": AT}}
    )
    (bin_,) = expand_bins({"b": grid})
    found = [
        pretrain_bin(bin_, TrainingCatalog.of(columns, weights, RowBlocks(900, size))).further[
            "near"
        ]
        for size in (900, 250)
    ]
    inside = (columns["z"] >= -1) & (columns["z"] < 1)
    x = np.stack([columns["x"], columns["y"]], axis=1)[inside].astype(float)
    values = 1 / (1 + np.sum((x[:, None] - np.array(AT)) ** 2, axis=2))
    w = weights[inside].astype(float)
    for counts in found:
        assert counts.every
        assert not counts.given
        np.testing.assert_allclose(counts.values[:, 0], w @ values, rtol=1e-5)
        np.testing.assert_allclose(counts.errors[:, 0] ** 2, w**2 @ values**2, rtol=1e-5)


KNOWN = {"at": AT, "values": 2 * np.ones((3, 1)), "errors": np.ones((3, 1)), "weight": 5.0}


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({"edges": {"z": [0.0, 1.0, 2.0]}}, {}, "counts of one bin are given, but edges"),
        ({"edges": {"z": {"number": 3}}}, {}, "counts of one bin are given, but edges"),
        ({}, {"weight": float("nan")}, "weight=nan: must be finite and positive"),
        ({"kernels": 5}, {}, "the weight in the bin is given, but the bin is counted"),
        ({"normalization": "density"}, {}, "the weight in the bin is given, but the bin"),
    ],
)
def test_given_counts_that_do_not_fit_their_bin_are_refused(changes, given, message):
    with pytest.raises(InputError, match=rf"bins.b.statistics.near: {message}"):
        read_statistics("bins.b", replace(config(**KNOWN | given), **changes))


def test_bins_that_are_counted_and_bins_that_are_given_stand_together():
    """In the order of the config; a bin that is given needs no samples of the catalog."""
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=300).astype(np.float32) for name in ("x", "y")}
    counted = BinsConfig(columns=["x"], kernels=3, fourier=2)
    grids = {"a": config(**KNOWN), "b": counted, "c": config(**KNOWN)}
    grids["c"].min_training = 1000
    found = read_all(grids)
    bins, settled = find_bins(grids, TrainingCatalog.of(columns), found)
    assert [bin_.group for bin_ in bins] == ["a", "b", "c"]
    assert settled.used == 3
    pretrained = [
        known_bin(bins[0], found["a"]),
        pretrain_bin(bins[1], columns),
        known_bin(bins[2], found["c"]),
    ]
    stacks = stack_bins(pretrained, 300.0, np.float32)
    assert [stack.drawn for stack, _ in stacks] == [{"near": 3}, {"kde": 3, "fourier": 2}]
    np.testing.assert_array_equal(stacks[0][1].training_sum, [5.0, 5.0])


def test_a_bin_without_a_catalog_has_what_is_given():
    known = KNOWN
    (bin_,) = expand_bins({"b": config(**known)})
    pretrained = known_bin(bin_, read_statistics("bins.b", bin_.config))
    assert list(pretrained.statistics) == ["near"]
    assert pretrained.training_sum == 5.0
    counts = pretrained.statistics["near"]
    assert counts.given
    np.testing.assert_array_equal(counts.values, known["values"])
