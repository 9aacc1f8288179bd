"""Grids of bins: edges that follow from the data, windows by name, and bins with few samples."""

import numpy as np
import pytest

from kdescent_dist.bins.bin import expand_bins, required_columns
from kdescent_dist.bins.edges import resolve_grids
from kdescent_dist.bins.few_training import Settled, count_bins, settle_bins
from kdescent_dist.bins.validate import check_bins
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig

N = 5_000


def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {
        "z": rng.gamma(2.0, 0.4, N).astype(np.float32),
        "m": rng.normal(20.0, 2.0, N),
        "x": rng.normal(size=N),
    }


def grid(**changes) -> BinsConfig:
    return BinsConfig(columns=["x"], **changes)


def edges_of(rule, values=None, weights=None) -> list[float]:
    values = columns()["z"] if values is None else np.asarray(values)
    weights = np.ones(len(values)) if weights is None else weights
    return resolve_grids({"a": grid(edges={"z": rule})}, {"z": values}, weights)["a"].edges["z"]


def test_edges_by_number_have_equal_width_between_their_limits():
    edges = edges_of({"number": 4, "low": 0, "high": 2})
    np.testing.assert_allclose(edges, [0, 0.5, 1, 1.5, 2])


def test_edges_between_the_extremes_are_where_they_would_be_without_the_last_sample():
    """Whole numbers, of which a bin holds its lower edge."""
    values = np.repeat([1, 2, 3, 4], [5, 6, 7, 8])
    edges = edges_of({"number": 3}, values)
    assert edges[:3] == [1, 2, 3]
    config = {"a": grid(edges={"z": edges})}
    assert count_bins(expand_bins(config), {"z": values}).tolist() == [5, 6, 15]


def test_edges_by_number_may_be_even_in_the_logarithm():
    edges = edges_of({"number": 3, "low": 0.01, "high": 10, "log": True})
    np.testing.assert_allclose(edges, [0.01, 0.1, 1.0, 10.0])


@pytest.mark.parametrize("rule", [{"number": 7}, {"quantiles": 7}])
def test_without_limits_every_training_sample_is_in_one_bin(rule):
    """In single precision, too, in which the columns of a fit are."""
    config = resolve_grids({"a": grid(edges={"z": rule})}, columns(), np.ones(N))
    for dtype in (np.float32, np.float64):
        cast = {name: values.astype(dtype) for name, values in columns().items()}
        assert count_bins(expand_bins(config), cast).sum() == N


def test_the_limits_may_be_those_of_a_larger_catalog():
    part = {"z": np.linspace(0.2, 0.8, 50)}
    spec = {"a": grid(edges={"z": {"number": 2}})}
    edges = resolve_grids(spec, part, np.ones(50), limits={"z": (0.0, 1.0)})["a"].edges["z"]
    np.testing.assert_allclose(edges, [0, 0.5, 1], rtol=1e-6)


def test_quantiles_hold_the_same_weight():
    values, weights = columns()["z"], np.random.default_rng(1).uniform(0, 2, N)
    for rule in ({"quantiles": 8}, {"quantiles": 8, "low": 0.2, "high": 1.5}):
        edges = edges_of(rule, values, weights)
        held, _ = np.histogram(values, edges, weights=weights)
        np.testing.assert_allclose(held, held.mean(), atol=2 * weights.max())
    assert (edges[0], edges[-1]) == (0.2, 1.5)


def test_quantiles_do_not_depend_on_the_order_of_the_samples():
    values = columns()["z"]
    assert edges_of({"quantiles": 9}, values) == edges_of({"quantiles": 9}, values[::-1])


def test_samples_of_weight_0_move_no_quantile():
    values, weights = (
        np.r_[np.arange(1.0, 101.0), np.full(50, 3.5)],
        np.r_[np.ones(100), 0 * np.ones(50)],
    )
    assert edges_of({"quantiles": 4}, values, weights)[1:-1] == [26.0, 50.5, 76.0]


def test_edges_that_are_lists_stay_as_they_are():
    config = {"a": grid(edges={"z": [0, 1, 2]}), "b": grid()}
    assert resolve_grids(config, columns(), np.ones(N)) == config


BAD_RULES = [
    ({"nmber": 3}, r"bins\.a\.edges\.z\.nmber: there is no such key; did you mean number"),
    ({"number": 3, "quantiles": 3}, "must have either number .* or quantiles"),
    ({"low": 3}, "must have either number .* or quantiles"),
    ({"number": 0}, r"bins\.a\.edges\.z\.number=0: must be a number of bins, 1 or more"),
    ({"quantiles": 2.5}, r"quantiles=2\.5: must be a number of bins"),
    ({"number": 3, "low": "x"}, r"bins\.a\.edges\.z\.low=x: must be a finite number"),
    ({"number": 3, "low": 2, "high": 1}, "must increase, but 2 is followed by 1"),
    ({"number": 3, "low": 99}, r"low 99 is not below high"),
    ({"number": 3, "low": 0, "log": True}, "must have limits above 0"),
    ({"number": 3, "log": 1}, r"bins\.a\.edges\.z\.log=1: must be true or false"),
    ({"quantiles": 3, "log": True}, "quantiles are the same in the logarithm"),
    ({"quantiles": 3, "low": 50, "high": 60}, "no training sample .* lies between 50 and 60"),
]


@pytest.mark.parametrize(("rule", "message"), BAD_RULES)
def test_a_rule_that_cannot_be_followed_is_refused(rule, message):
    with pytest.raises(InputError, match=message):
        edges_of(rule)


def test_too_many_equal_values_for_quantiles_are_told():
    values = np.r_[np.zeros(900), np.linspace(1, 2, 100)]
    with pytest.raises(
        InputError, match=r"edges\.z: 4 bins .* 101 different values .*90% .* at 0:"
    ):
        edges_of({"quantiles": 4}, values)


def test_edges_closer_than_single_precision_are_refused():
    with pytest.raises(InputError, match="the same in single precision"):
        edges_of({"number": 10, "low": 2459000, "high": 2459001})


def test_a_column_that_is_missing_or_not_finite_is_named():
    spec = {"a": grid(edges={"red": {"quantiles": 3}})}
    with pytest.raises(
        InputError, match=r"bins\.a\.edges\.red: no column 'red': did you mean redshift"
    ):
        resolve_grids(spec, {"redshift": np.ones(3)}, np.ones(3))
    with pytest.raises(InputError, match=r"bins\.a\.edges\.z: 1 of 3 values of column 'z' are NaN"):
        edges_of({"number": 3}, [0.0, np.nan, 1.0])


def test_edges_that_were_not_resolved_are_refused():
    with pytest.raises(InputError, match="resolve_grids finds them in the training data"):
        expand_bins({"a": grid(edges={"z": {"number": 3}})})


def test_windows_are_bins_by_name_that_may_overlap():
    windows = {"faint": {"z": [0.1, 0.5], "m": [20, 22]}, "bright": {"m": [14, 21]}}
    faint, bright = expand_bins({"a": grid(windows=windows)})
    assert (faint.name, bright.name) == ("a[faint]", "a[bright]")
    assert faint.window == {"z": (0.1, 0.5), "m": (20.0, 22.0)}
    assert required_columns({"a": grid(windows=windows)}) == ["x", "z", "m"]


BAD_GRIDS = [
    (
        {"edges": {"z": [0, 1]}, "windows": {"w": {"z": [0, 1]}}},
        r"bins\.a: edges .* and windows .* are both given",
    ),
    ({"windows": {"w": {}}}, r"bins\.a\.windows\.w: {} must be {column: \[low, high\]"),
    ({"windows": {"w": {"z": [0]}}}, r"bins\.a\.windows\.w\.z: \[0\] must be two numbers"),
    ({"windows": {"w": {"z": [1, 0]}}}, r"bins\.a\.windows\.w\.z: \[1, 0\] must increase"),
    ({"windows": {"w": {"z": [0, 1]}}, "few_training": "merge"}, "windows have no neighbors"),
    ({"few_training": "ignore"}, r"few_training=ignore: must be one of error, drop, merge"),
    ({"edges": {"z": [0, 1]}, "softness": {"zz": 0}}, r"softness\.zz: .* did you mean z\?"),
    ({"softness": {"z": 0}}, r"softness\.z: there is no such conditional column; give its edges"),
    ({"softness": "soft"}, "softness=soft: must be a number, or one of each column"),
    ({"edges": {"z": [0, 1]}, "softness": {"z": -1}}, r"softness\.z=-1: must be at least 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_GRIDS)
def test_a_grid_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        check_bins("bins.a", grid(**changes))


def test_names_have_as_many_digits_as_tell_the_bins_apart():
    edges = [2459000.0, 2459000.25, 2459000.5]
    names = [b.name for b in expand_bins({"a": grid(edges={"z": edges, "m": [0, 1]})})]
    assert names == ["a[z 2459000-2459000.2, m 0-1]", "a[z 2459000.2-2459000.5, m 0-1]"]


def test_each_column_has_its_own_softness():
    config = grid(edges={"z": [0, 1], "m": [19, 21]}, softness={"m": 0})
    (one,) = expand_bins({"a": config})
    assert one.softness == (0.04, 0.0)
    table = {"z": np.array([0.5, 1.0, 0.5]), "m": np.array([20.0, 20.0, 21.01]), "x": np.ones(3)}
    np.testing.assert_allclose(one.weights(table), [1, 0.5, 0], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_are_those_within_the_hard_edges(dtype):
    table = {name: values.astype(dtype) for name, values in columns().items()}
    table["z"][:50] = dtype(0.3)  # on an edge, as it is in this precision
    grids = {
        "cells": grid(edges={"z": [0.1, 0.3, 0.7], "m": [17, 20, 23]}),
        "overlapping": grid(windows={"a": {"z": [0.2, 0.9]}, "b": {"z": [0.3, 0.5]}}),
        "all": grid(),
    }
    bins = expand_bins(grids)
    np.testing.assert_array_equal(count_bins(bins, table), [b.count(table) for b in bins])


def settled(few_training, counts, **changes):
    edges = {"m": [0, 1, 2], "z": [0, 1, 2, 3]}
    config = grid(edges=edges, min_training=50, few_training=few_training, **changes)
    bins, done = settle_bins(expand_bins({"a": config}), np.array(counts))
    return [b.name for b in bins], done, bins


def test_all_bins_with_few_samples_are_named_at_once():
    with pytest.raises(InputError) as error:
        settled("error", [60, 3, 60, 60, 60, 49])
    assert "bins.a: 2 bins hold fewer training samples than min_training=50: " in str(error.value)
    assert "'a[m 0-1, z 1-2]' (3), 'a[m 1-2, z 2-3]' (49)" in str(error.value)


def test_bins_with_few_samples_are_dropped_on_request():
    names, done, _ = settled("drop", [60, 3, 60, 60, 60, 49])
    assert len(names) == done.used == 4
    assert done == Settled(4, {"a[m 0-1, z 1-2]": 3, "a[m 1-2, z 2-3]": 49}, {})
    assert done.lines()[0] == "a[m 0-1, z 1-2]: left out, 3 training samples"


@pytest.mark.parametrize(
    ("row", "joined"),
    [
        ([60, 60, 60], ["0-1", "1-2", "2-3"]),
        ([10, 60, 60], ["0-2", "2-3"]),
        ([60, 10, 60], ["0-1", "1-3"]),
        ([60, 60, 10], ["0-1", "1-3"]),
        ([20, 20, 20], ["0-3"]),
        ([60, 20, 20], ["0-3"]),
        ([10, 10, 10], []),
    ],
)
def test_bins_are_joined_with_those_above_them_in_their_row(row, joined):
    names, done, bins = settled("merge", [*row, 60, 60, 60])
    assert names[:-3] == [f"a[m 0-1, z {z}]" for z in joined]
    assert names[-3:] == ["a[m 1-2, z 0-1]", "a[m 1-2, z 1-2]", "a[m 1-2, z 2-3]"]
    kept = sum(sum(parts.values()) for parts in done.merged.values())
    alone = [n for n, b in zip(row, ["0-1", "1-2", "2-3"], strict=True) if b in joined]
    assert kept + sum(alone) + sum(done.dropped.values()) == sum(row)
    assert [b.window["z"] for b in bins[:-3]] == [
        tuple(float(e) for e in z.split("-")) for z in joined
    ]


def test_a_grid_of_which_nothing_is_left_is_refused():
    with pytest.raises(
        InputError, match="no bin is left: the fullest of 6 holds 9 training samples"
    ):
        settled("drop", [1, 2, 3, 9, 5, 6])


def test_every_grid_has_its_own_rule():
    grids = {"a": grid(few_training="drop", edges={"z": [0, 1, 2]}), "b": grid(min_training=2)}
    bins, done = settle_bins(expand_bins(grids), [60, 1, 3])
    assert [b.name for b in bins] == ["a[z 0-1]", "b"]
    assert done.used == 2
