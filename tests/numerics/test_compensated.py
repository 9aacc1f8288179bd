"""Sums of arrays whose order does not matter."""

import math

import numpy as np

from kdescent_dist.numerics.compensated import CompensatedSum


def test_sums_of_single_precision_are_exact_in_any_order():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(1000, 7)) * 10.0 ** rng.integers(-7, 7, (1000, 7))
    values = values.astype(np.float32)
    expected = [math.fsum(column) for column in values.T.astype(float)]
    for order in (np.arange(1000), np.argsort(np.abs(values[:, 0])), rng.permutation(1000)):
        total = CompensatedSum()
        total.add_each({"of": values[order]})
        assert total.total()["of"].tolist() == expected


def test_trees_are_added_leaf_by_leaf():
    total = CompensatedSum()
    total.add((np.float32(1), {"a": np.ones(2)}))
    total.add((np.float32(1e-20), {"a": np.full(2, 2.0)}))
    one, tree = total.total()
    assert one == 1.0
    assert tree["a"].tolist() == [3.0, 3.0]
