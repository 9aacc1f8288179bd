"""The compared numbers of a bin on the host, against those that the loss compares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.objective.residuals import normalized, norms
from kdescent_dist.response.compared import BinComparison

WEIGHT, VOLUME = 5.5, 2.0


def sums(rng):
    counts = {"kde": rng.random((4, 1)), "fourier": rng.normal(size=(3, 2))}
    return BinSums(np.float64(3.3), counts)


def of_the_loss(kind, sums, weight):
    """The numbers (R,) by the functions of the loss."""
    one = jax.tree.map(lambda a: jnp.asarray(a)[None], sums)
    compared = normalized(one, norms((kind,), one.weight, weight), VOLUME)
    counts = [compared.counts[name].reshape(-1) for name in ordered(compared.counts)]
    return jnp.concatenate([*counts, compared.number])


@pytest.mark.parametrize("kind", ["conditional", "density", "counts"])
def test_numbers_and_derivatives_are_those_of_the_loss(kind):
    rng = np.random.default_rng(1)
    one = sums(rng)
    comparison = BinComparison(kind, one, WEIGHT, VOLUME)
    linear = rng.normal(size=(6, 11))
    moved = jax.tree.map(lambda a: rng.normal(size=(6, *np.shape(a))), one)
    of_weight = rng.normal(size=6)
    with jax.enable_x64(True):
        number, pull = jax.vjp(lambda s, w: of_the_loss(kind, s, w), one, WEIGHT)
        np.testing.assert_allclose(comparison.vector(), number)
        sensitivity, slopes = comparison.sensitivity(linear), comparison.slopes(moved, of_weight)
        for i in range(6):
            change = jax.tree.map(lambda a, i=i: a[i], moved), of_weight[i]
            along = jax.jvp(lambda s, w: of_the_loss(kind, s, w), (one, WEIGHT), change)[1]
            np.testing.assert_allclose(slopes[i], along, atol=1e-12)
            by_sums, by_weight = pull(jnp.asarray(linear[i]))
            found = jax.tree.map(lambda a, i=i: a[i], sensitivity)
            np.testing.assert_allclose(found.weight, by_weight, atol=1e-12)
            jax.tree.map(np.testing.assert_allclose, found.sums, jax.tree.map(np.asarray, by_sums))


@pytest.mark.parametrize("kind", ["conditional", "density", "counts"])
def test_numbers_of_several_populations_are_those_of_each(kind):
    rng = np.random.default_rng(2)
    several = [sums(rng), sums(rng)]
    stacked = jax.tree.map(lambda *a: np.stack(a), *several)
    found = BinComparison(kind, several[0], WEIGHT, VOLUME).vectors(stacked, np.array([5.5, 7.0]))
    for row, one, weight in zip(found, several, (5.5, 7.0), strict=True):
        np.testing.assert_allclose(row, BinComparison(kind, one, weight, VOLUME).vector())


def test_the_counts_of_an_empty_bin_are_0():
    empty = BinSums(np.float64(0.0), {"kde": np.zeros((4, 1))})
    assert not BinComparison("conditional", empty, WEIGHT).vector().any()
