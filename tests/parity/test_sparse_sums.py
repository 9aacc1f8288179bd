"""Sums in many bins from sorted blocks of samples, against float64."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.bin_sums import BinArrays
from kdescent_dist.bins.sorting import cut, order_by_cells, pairs_within_reach, permuted
from kdescent_dist.bins.sparse import sparse_sums
from kdescent_dist.bins.stacks import BinStack, stack_bins
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, CountsConfig
from support import problems
from support.points import by_name, kernels_and_modes

SIZE, DIMS, KERNELS, MODES = 2_900, 2, 4, 3  # the size does not divide into blocks

GRID = np.linspace(0.0, 1.0, 13)
CELLS = np.stack(np.meshgrid(GRID[:-4:4], GRID[:-4:4], indexing="ij"), axis=-1).reshape(-1, 2)


@partial(jax.jit, static_argnames="hard")
def compiled(x, conditions, weights, bins, hard):
    return by_name(sparse_sums(x, conditions, weights, bins, hard)[0])


# Edges (m, c) and softness of the windows of each case: one for all, or of bins and columns.
WINDOWS = {
    "soft": (GRID[:-1, None], GRID[1:, None], 0.04),
    "hard": (GRID[:-1, None], GRID[1:, None], 0.0),
    "different softness": (GRID[:-1, None], GRID[1:, None], np.geomspace(0.001, 2.0, 12)[:, None]),
    "overlapping": (0.1 * GRID[:-1, None], 0.1 * GRID[:-1, None] + 0.3, 0.02),
    "two columns": (CELLS, CELLS + 1 / 3, 0.03),
    "two columns, hard": (CELLS, CELLS + 1 / 3, 0.0),
    "two columns, one of them hard": (CELLS, CELLS + 1 / 3, np.array([[0.03, 0.0]])),
    "two columns, each its own": (CELLS, CELLS + 1 / 3, np.array([[0.3, 0.005]])),
    "nearly all in one": (np.array([[-5.0], [0.999]]), np.array([[0.999], [5.0]]), 0.001),
    "beyond all samples": (np.array([[0.0], [50.0]]), np.array([[1.0], [60.0]]), 0.04),
}


def arrays(case, dtype=np.float32):
    """Columns, conditional columns and weights of samples, bins, and whether edges are hard."""
    rng = np.random.default_rng(7)
    low, high, softness = WINDOWS[case]
    bins = len(low)
    conditions = rng.uniform(-0.2, 1.2, size=(low.shape[1], SIZE))
    x = rng.normal(size=(DIMS, SIZE)) + conditions[0]
    weights = rng.uniform(size=SIZE) * (rng.uniform(size=SIZE) > 0.3)
    spread = rng.normal(size=(bins, DIMS, DIMS))
    of_bins = BinArrays(
        low=low,
        high=high,
        softness=np.broadcast_to(softness, low.shape),
        points=kernels_and_modes(
            centers=rng.normal(0.5, 1.0, size=(bins, KERNELS, DIMS)),
            cov=0.05 * np.eye(DIMS) + 0.02 * spread @ spread.transpose(0, 2, 1),
            modes=rng.normal(size=(bins, MODES, DIMS)),
        ),
    )
    cast = jax.tree.map(
        lambda a: jnp.asarray(a, dtype), ((list(x), list(conditions), weights), of_bins)
    )
    return *cast, tuple(np.all(np.broadcast_to(softness, low.shape) == 0, axis=0).tolist())


def sums_float64(x, conditions, weights, bins, hard):
    """All sums of each bin over all samples, and their derivatives by each sample."""
    x, conditions = np.asarray(x, float), np.asarray(conditions, float)
    bins = jax.tree.map(lambda a: np.asarray(a, float), bins)
    centers, cov = bins.points["kde"].each["centers"], bins.points["kde"].common["cov"]
    sums = {name: [] for name in ("weight", "kde", "cos", "sin")}
    slopes = {name: [] for name in sums}  # by x, conditions and weights: (d + c + 1, n)
    for b in range(len(bins.low)):
        above, below = conditions - bins.low[b][:, None], bins.high[b][:, None] - conditions
        within, log_slope = ((above >= 0) & (below > 0)).astype(float), 0 * conditions
        for i in np.flatnonzero(~np.asarray(hard)):
            scale = bins.softness[b, i] * (bins.high[b, i] - bins.low[b, i])
            rising = 1 / (1 + np.exp(-np.clip(above[i] / scale, -700, 700)))
            falling = 1 / (1 + np.exp(-np.clip(below[i] / scale, -700, 700)))
            within[i], log_slope[i] = rising * falling, (falling - rising) / scale
        window = np.prod(within, axis=0)
        away = x.T[None] - centers[b][:, None]
        inverse = np.linalg.inv(cov[b])
        norm = np.sqrt(np.linalg.det(2 * np.pi * cov[b]))
        kernel = np.exp(-0.5 * np.einsum("kni,ij,knj->kn", away, inverse, away)) / norm
        of_bin = bins.points["fourier"].each["modes"][b]
        phase, modes = of_bin @ x, of_bin.T[:, :, None]
        values = {
            "weight": (np.ones((1, x.shape[1])), np.zeros((DIMS, 1, 1))),
            "kde": (kernel, -np.moveaxis(away @ inverse, 2, 0) * kernel),
            "cos": (np.cos(phase), -np.sin(phase) * modes),
            "sin": (np.sin(phase), np.cos(phase) * modes),
        }
        for name, (value, slope) in values.items():
            sums[name].append(value @ (window * weights))
            by_x = slope * window * weights
            by_condition = value * window * weights * log_slope[:, None]
            parts = [
                np.broadcast_to(by_x, (DIMS, *value.shape)),
                by_condition,
                (value * window)[None],
            ]
            slopes[name].append(np.concatenate(parts))
    sums = {name: np.array(values) for name, values in sums.items()}
    sums["weight"] = sums["weight"][:, 0]
    return sums, {name: np.array(values) for name, values in slopes.items()}


def evaluate(samples, bins, hard, cotangents):
    """Sums, and their gradients by samples, along some cotangents."""

    @jax.jit
    def run(samples, bins, cotangents):
        sums, pull = jax.vjp(lambda *s: compiled(*s, bins, hard), *samples)
        return sums, pull(cotangents)[:3]

    return jax.device_get(run(samples, bins, cotangents))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", WINDOWS)
def test_sums_and_gradients_equal_those_over_all_samples_in_float64(case, dtype):
    """In sorted order; what is left out, beyond the reach of the windows, is below rounding."""
    with jax.enable_x64(dtype == np.float64):
        samples, bins, hard = arrays(case, dtype)
        (order,) = (
            np.argsort(samples[1][0])[None] if len(samples[1]) == 1 else [np.lexsort(samples[1])]
        )
        samples = jax.tree.map(lambda a: a[order], samples)
        expected, slopes = sums_float64(*samples, bins, hard)
        rng = np.random.default_rng(1)
        cotangents = {k: rng.normal(size=v.shape).astype(dtype) for k, v in expected.items()}
        sums, gradients = evaluate(samples, bins, hard, cotangents)
    tolerance = 3e-6 if dtype == np.float32 else 1e-13
    for name, value in expected.items():
        scale = max(np.abs(value).max(), 1.0)
        np.testing.assert_allclose(sums[name], value, rtol=tolerance, atol=tolerance * scale)
    wanted = sum(
        np.einsum("bk,bikn->in", cotangents[name].reshape(len(slope), -1), slope)
        for name, slope in slopes.items()
    )
    found = np.stack([*gradients[0], *gradients[1], gradients[2]])
    for row, (value, target) in enumerate(zip(found, wanted, strict=True)):
        scale = np.abs(target).max()
        np.testing.assert_allclose(value, target, atol=20 * tolerance * scale, err_msg=f"row {row}")


@pytest.mark.as_shipped
@pytest.mark.parametrize(("kernels", "modes"), [(0, MODES), (KERNELS, 0)])
def test_bins_may_have_kernels_or_modes_alone(kernels, modes):
    samples, bins, hard = arrays("soft")
    name = "kde" if kernels else "fourier"
    fewer = replace(bins, points={name: bins.points[name]})
    whole, some = (jax.device_get(compiled(*samples, b, hard)) for b in (bins, fewer))
    gradient = jax.grad(lambda w: compiled(*samples[:2], w, fewer, hard)["weight"].sum())
    assert np.all(np.isfinite(gradient(samples[2])))
    assert set(some) == ({"weight", "kde"} if kernels else {"weight", "cos", "sin"})
    for name, values in some.items():
        np.testing.assert_array_equal(values, whole[name])


def test_sums_do_not_depend_on_the_order_of_the_samples():
    samples, bins, hard = arrays("two columns")
    shuffled = np.random.default_rng(3).permutation(SIZE)
    ordered = np.asarray(order_by_cells(samples[1], [np.unique(CELLS)] * 2))
    first, second = (
        compiled(*jax.tree.map(lambda a, o=o: a[o], samples), bins, hard)
        for o in (shuffled, ordered)
    )
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("which", ["x", "condition", "weight"])
def test_a_sample_that_is_not_finite_spoils_all_sums(which):
    """As in dense sums, instead of being skipped in silence where it is out of reach."""
    (x, conditions, weights), bins, hard = arrays("soft")
    spoil = {"x": x, "condition": conditions}.get(which)
    if spoil is None:
        weights = weights.at[5].set(np.nan)
    else:
        spoil[0] = spoil[0].at[5].set(np.nan)
    assert np.all(np.isnan(compiled(x, conditions, weights, bins, hard)["kde"]))


@pytest.mark.parametrize(("case", "most"), [("soft", 0.45), ("hard", 0.2), ("two columns", 0.65)])
def test_sorted_blocks_far_from_a_bin_are_skipped(case, most):
    (_, conditions, _), bins, _ = arrays(case)
    edges = [
        np.unique(np.concatenate([bins.low[:, i], bins.high[:, i]])) for i in range(len(conditions))
    ]
    order = order_by_cells(conditions, edges)
    blocks = cut(permuted(conditions, order), len(bins.low))
    clean = jnp.zeros(len(blocks[0]), bool)
    pairs, number = pairs_within_reach(blocks, bins.low, bins.high, bins.softness, clean)
    number = int(number)
    assert 0 < number < most * len(pairs)
    assert len(set(np.asarray(pairs[:number]).tolist())) == number


def test_order_is_a_permutation_that_brings_cells_together():
    rng = np.random.default_rng(0)
    conditions = rng.uniform(-1, 2, size=(2, 5_000)).astype(np.float32)
    edges = [np.array([0.0, 0.2, 0.7, 1.0], np.float32), np.linspace(0, 1, 6, dtype=np.float32)]
    order = np.asarray(order_by_cells(list(conditions), edges))
    np.testing.assert_array_equal(np.sort(order), np.arange(5_000))
    # A sample below all edges is in the cell of the first one, another above all in the last.
    cell = np.clip(np.searchsorted(edges[0], conditions[0][order], side="right") - 1, 0, 3)
    assert np.all(np.diff(cell) >= 0)
    for i in range(4):
        within = np.clip(conditions[1][order][cell == i], 0, 1)
        assert np.all(np.diff(within) > -0.01)


def test_permuting_columns_has_the_derivative_of_indexing():
    rng = np.random.default_rng(0)
    column = jnp.asarray(rng.normal(size=50), jnp.float32)
    order = jnp.asarray(rng.permutation(50), jnp.int32)
    factor = rng.normal(size=50).astype(np.float32)
    gradients = [
        jax.grad(lambda c, f=f: jnp.sum(factor * f(c)))(column)
        for f in (lambda c: permuted([c], order)[0], lambda c: c[order])
    ]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize(
    ("edges", "softness", "sparse"),
    [
        (np.linspace(0, 1, 31), 0.04, True),
        ([0.0, 0.3, 1.0], 0.04, False),
        (np.linspace(0, 1, 31), 3.0, False),
        (None, 0.04, False),
    ],
)
def test_the_sums_are_chosen_by_what_the_bins_reach(edges, softness, sparse):
    config = BinsConfig(
        columns=["red"],
        edges={} if edges is None else {"mass": list(map(float, edges))},
        softness=softness,
        kernels=10,
        fourier=10,
        pretrain_kernels=20,
        pretrain_fourier=20,
    )
    bins = problems.pretrained({"g": config})

    def chosen(sums, platform):
        ((stack, _),) = stack_bins(bins, 1.0, np.float32, sums, platform)
        return stack.sparse

    assert chosen("auto", "cpu") == sparse
    # It was made and measured for CPUs, but may be asked for anywhere.
    assert not chosen("auto", "gpu")
    assert chosen("sparse", "gpu") == (edges is not None)


def test_a_sum_over_very_many_blocks_loses_nothing():
    size = 2**19
    column = jnp.full(size, 0.5)
    one = BinArrays(
        *(jnp.array([[v]]) for v in (0.0, 1.0, 0.01)),
        kernels_and_modes(jnp.zeros((1, 0, 1)), jnp.ones((1, 1, 1)), jnp.zeros((1, 1, 1))),
    )
    sums = compiled([column], [column], jnp.full(size, 0.1), one, (True,))
    expected = size * float(np.float32(0.1))
    np.testing.assert_allclose([sums["weight"][0], sums["cos"][0, 0]], expected, rtol=2e-6)


@pytest.fixture(scope="module")
def bins():
    small = BinsConfig(columns=["red"], kernels=2, fourier=0, pretrain_kernels=10)
    return problems.pretrained({"one": small})


def test_gpu_kernels_are_refused_on_cpus(bins):
    with pytest.raises(InputError, match=r"counts.backend=pallas: needs an NVIDIA GPU"):
        problems.objective(bins, counts=CountsConfig(backend="pallas"))


def test_unknown_sums_are_refused(bins):
    with pytest.raises(InputError, match=r"counts.bins=spares"):
        problems.objective(bins, counts=CountsConfig("spares"))


def test_stacks_know_the_edges_of_their_bins():
    edges = {"mass": [0.0, 0.3, 1.0], "blue": [-1.0, 0.3, 0.9, 3.0]}
    config = BinsConfig(columns=["red"], edges=edges, softness=0.02, kernels=4, fourier=0)
    bins = tuple(expand_bins({"cells": config}))
    stack = BinStack(
        bins, (0, 1), ("red",), ("mass", "blue"), {"kde": 4}, frozenset(), (False, False), True
    )
    mass, blue = stack.edges
    np.testing.assert_allclose(mass[1:-1], [0.0, 0.3, 1.0], atol=1e-7)
    np.testing.assert_allclose(blue[1:-1], [-1.0, 0.3, 0.9, 3.0], atol=1e-7)
    assert mass[0] < -0.1
    assert mass[-1] > 1.2
