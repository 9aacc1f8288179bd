"""Blocks, and the tree along which their sums are added."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.numerics.reductions import streamed_sum, tree_sum

pytestmark = pytest.mark.as_shipped


def test_blocks_follow_from_the_size_alone():
    assert SampleBlocks.of(5000).block_size == 625
    assert SampleBlocks.of(3).count == 3
    assert SampleBlocks.of(10**9).block_size == 65_536
    assert SampleBlocks.of(1003, 400).count == 3
    assert SampleBlocks.of(10, 400).block_size == 10


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 11, 100, 1000, 15_259])
@pytest.mark.parametrize("devices", [1, 2, 3, 8])
def test_devices_hold_whole_nodes_and_nearly_even_shares(count, devices):
    layout, mesh = SampleBlocks(10 * count, 10), make_mesh(devices)
    node, held = layout.node(mesh), layout.per_device(mesh)
    share = -(-count // devices)
    assert node & (node - 1) == 0
    assert held % node == 0
    assert held // node <= 21
    assert share <= held <= max(1.05 * share, share)


def test_a_power_of_two_of_blocks_for_each_device_is_one_node():
    assert SampleBlocks(1024, 1).node(make_mesh(8)) == 128


ROWS = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 64, 1000])
def test_tree_sum_is_the_sum_of_the_rows(rows):
    found = tree_sum(jnp.asarray(ROWS[:rows]))
    np.testing.assert_allclose(found, ROWS[:rows].astype(float).sum(0), rtol=1e-5, atol=1e-5)


@jax.jit
def streamed(table, number):
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    return streamed_sum(lambda i: table[i], number, 1024, shape)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 6, 7, 64, 1000])
def test_streamed_sum_has_the_bits_of_tree_sum(rows):
    expected = tree_sum(jnp.asarray(ROWS[:rows])) if rows else np.zeros(3)
    np.testing.assert_array_equal(streamed(ROWS, rows), expected)


@pytest.mark.parametrize("node", [1, 2, 8])
def test_sums_of_nodes_add_up_to_the_same_bits(node):
    """Rows are summed in aligned powers of two, wherever the last one ends."""
    rows = ROWS[:77]
    nodes = [streamed(rows[i : i + node], len(rows[i : i + node])) for i in range(0, 77, node)]
    np.testing.assert_array_equal(tree_sum(jnp.stack(nodes)), tree_sum(jnp.asarray(rows)))
