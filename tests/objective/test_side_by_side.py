"""Many blocks at once, the form for GPUs, gives what one block after the other gives."""

import logging
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.schema import CountsConfig
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.models.population import Population
from kdescent_dist.objective.alike import blocks_alike
from kdescent_dist.objective.chain_rule import ChainRule
from kdescent_dist.objective.side_by_side import SideBySide
from support import problems

KEY = jax.random.key(11)
ALL, SOME, ONE = 1 << 30, 40_000, 1  # bytes: all blocks at once and kept, a few at once, one


def unit_of_a_row(shared, key):
    """The sums are rows of the catalog, without rounding: only the order of addition matters."""

    def unit(params, block, catalog, kernel_block):
        return params * catalog["row"][0] + kernel_block.astype(params.dtype)

    return unit, lambda params, sums: jnp.sum(sums)


def value_and_grad(devices, count, kernels=1, **options):
    mesh, layout = make_mesh(devices, kernels), SampleBlocks(count, 1)
    rule = ChainRule(layout, mesh, 2, True, **options)
    rows = np.random.default_rng(count).normal(size=count).astype(np.float32)
    catalog = {"row": layout.cut(rows, mesh)}
    run = jax.jit(lambda p: rule.value_and_grad(unit_of_a_row, p, KEY, (), catalog, rule.shares()))
    return jax.device_get(run(jnp.ones(3, jnp.float32)))


@pytest.mark.parametrize("count", [1, 7, 8, 11, 104])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_sums_have_the_bits_of_one_block_after_the_other(count, devices):
    expected = value_and_grad(1, count, side_by_side=False)
    for memory in (ALL, 64, ONE):
        found = value_and_grad(devices, count, side_by_side=True, memory=memory)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_blocks_of_kernels_on_devices_of_their_own():
    expected = value_and_grad(1, 11, side_by_side=False)
    found = value_and_grad(2, 11, kernels=2, side_by_side=True)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("count", "devices", "memory", "expected"),
    [
        (8, 1, 800, 8),  # all blocks
        (8, 1, 799, 4),  # a part of the one node
        (8, 1, 10, 1),  # one block needs more
        (8, 8, 10, 1),
        (11, 1, 900, 6),  # nodes of one block: six of them, and the other five
        (1526, 1, 30_000, 256),  # half of a node
        (1526, 1, 110_000, 1024),  # two nodes, and the third one
    ],
)
def test_a_piece_is_as_large_as_memory_allows(count, devices, memory, expected):
    units = SideBySide(SampleBlocks(count, 1), make_mesh(devices), 1, memory)
    piece, node = units._piece(100), units.layout.node(units.mesh)
    assert node % piece == 0 or piece % node == 0
    assert piece == expected


def test_blocks_are_computed_alike_without_rounding():
    mesh, layout = make_mesh(2), SampleBlocks(11, 1)
    rule = ChainRule(layout, mesh, 2, True, side_by_side=True)
    catalog = {"row": layout.cut(np.linspace(0.1, 0.9, 11).astype(np.float32), mesh)}
    given = jnp.ones(3, jnp.float32), KEY, (), catalog, rule.shares()
    assert blocks_alike(rule, unit_of_a_row, *given, written_out=True)


def test_blocks_with_other_bits_are_computed_one_at_a_time(bins, caplog):
    """A model that does something else where many blocks are computed at once."""

    @jax.custom_batching.custom_vmap
    def nothing(values):
        return jnp.zeros_like(values)

    @nothing.def_vmap
    def of_many(size, batched, values):
        return jnp.full_like(values, 0.0 if size == 1 else 1e-6), batched[0]

    def model(params, key, catalog):
        made = problems.toy(params, key, catalog)
        red = made.x["red"] + nothing(jax.lax.stop_gradient(made.x["red"]))
        return Population(dict(made.x) | {"red": red}, made.weights)

    counts = CountsConfig(bins="dense", backend="fused")
    objective = problems.objective(bins, 4, counts=counts, model=model, kernel_blocks=1)
    objective.chain_rule = replace(objective.chain_rule, side_by_side=True)
    objective.settle(problems.GUESS)
    assert "one block at a time" in caplog.text
    assert objective.chain_rule.most == 1


def evaluate(objective, dtype):
    params = problems.GUESS.astype(dtype)
    return jax.device_get(jax.jit(objective.value_and_grad)(params, KEY, objective.data))


def side_by_side(bins, devices, memory, sums="dense", **options):
    counts = CountsConfig(bins=sums, backend="fused")
    objective = problems.objective(bins, devices, counts=counts, **options)
    rule = replace(objective.chain_rule, side_by_side=True, memory=memory)
    objective.chain_rule = rule
    return objective


@pytest.mark.parametrize("memory", [ALL, SOME, ONE])
@pytest.mark.parametrize("devices", [1, 4])
def test_a_population(bins, devices, memory, caplog):
    """Bins and blocks at once, in the backend for GPUs, against loops of the backend for CPUs."""
    caplog.set_level(logging.INFO)
    with jax.enable_x64(True):
        options = {"dtype": np.float64}
        one_by_one = problems.objective(bins, counts=CountsConfig(bins="dense"), **options)
        expected = evaluate(one_by_one, np.float64)
        found = evaluate(side_by_side(bins, devices, memory, **options), np.float64)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, expected)
    (told,) = [record.message for record in caplog.records if "at once" in record.message]
    assert ("kept" in told) == (memory == ALL)


def test_sparse_bins(bins):
    """Loops over the blocks in reach, whose lengths differ between the blocks of samples."""
    with jax.enable_x64(True):
        options = {"dtype": np.float64}
        sparse = CountsConfig(bins="sparse")
        expected = evaluate(problems.objective(bins, counts=sparse, **options), np.float64)
        found = evaluate(side_by_side(bins, 1, ALL, "sparse", **options), np.float64)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, expected)
