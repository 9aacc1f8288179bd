"""What follows from the values of a statistic, and what the shipped ones know better."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.bins.bin_sums import BinArrays
from kdescent_dist.bins.dense import dense_sums
from kdescent_dist.bins.sparse import sparse_sums
from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.statistic import Points, Statistic
from kdescent_dist.counts.statistics import STATISTICS, ordered, statistic
from support.points import kernels_and_modes

SIZE, DIMS, NUMBER = 700, 2, 5
RNG = np.random.default_rng(4)
X, WEIGHTS = RNG.normal(0.3, 1.0, size=(SIZE, DIMS)), RNG.uniform(size=SIZE)
CONDITION = np.sort(RNG.uniform(size=SIZE))
POINTS = kernels_and_modes(
    RNG.normal(size=(NUMBER, DIMS)),
    np.array([[0.5, 0.1], [0.1, 0.4]]),
    RNG.normal(size=(NUMBER, DIMS)),
)


@dataclass(frozen=True)
class Distances(Statistic):
    """Softened distance to a point, and its square: nothing but values."""

    name = "distances"
    parts = ("first", "second")

    def values(self, columns, prepared):
        apart = [c[None] - p[:, None] for c, p in zip(columns, prepared.each["at"].T, strict=True)]
        square = sum(a * a for a in apart)
        return [jnp.sqrt(0.1 + square), square]


def single(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kde", "fourier"])
def test_forms_of_their_own_agree_with_what_follows_from_the_values(name):
    one, points, x, w = statistic(name), *single((POINTS[name], X, WEIGHTS))
    cotangent = jnp.asarray(RNG.normal(size=(NUMBER, len(one.parts))), jnp.float32)

    def value_and_gradients(counts):
        found, pull = jax.vjp(lambda x, w: counts(x, w, points, "auto"), x, w)
        return found, *pull(cotangent)

    plain = value_and_gradients(lambda *a: Statistic.counts(one, *a))
    for ours, base in zip(value_and_gradients(one.counts), plain, strict=True):
        np.testing.assert_allclose(ours, base, rtol=3e-5, atol=3e-5)
    prepared = one.prepare(points, x[0])
    np.testing.assert_allclose(
        one.pull_back(cotangent, prepared),
        Statistic.pull_back(one, cotangent, prepared),
        rtol=1e-6,
        atol=1e-6,
    )
    columns = list(x.T)
    slopes, total = one.gradients(columns, w, prepared, one.factors(cotangent, prepared))
    plain_factors = Statistic.factors(one, cotangent, prepared)
    base_slopes, base_total = Statistic.gradients(one, columns, w, prepared, plain_factors)
    for ours, base in ((jnp.stack(slopes), jnp.stack(base_slopes)), (total, base_total)):
        np.testing.assert_allclose(ours, base, rtol=3e-5, atol=3e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kde", "fourier"])
def test_squares_are_those_of_what_each_sample_adds(name):
    one = statistic(name)
    with jax.enable_x64(True):
        points, x, w = jax.tree.map(jnp.asarray, (POINTS[name], X, WEIGHTS))
        found = one.squares(x, w, points, "auto", jnp.sum(w * w))
        each = jax.vmap(lambda x, w: one.counts(x[None], w[None], points, "auto"))(x, w)
        blocks = Statistic.squares(one, x, w, points, "auto", jnp.sum(w * w))
        expected = np.sum(np.asarray(each) ** 2, axis=0)
    for squares in (found, blocks):
        np.testing.assert_allclose(squares, expected, rtol=1e-9)


def in_float64():
    """Sums in two bins of soft windows, and gradients of the sum of all."""
    low, high = np.array([0.0, 0.4]), np.array([0.4, 1.0])

    def sums(x, condition, weights, at):
        widths = 0.04 * (high - low)
        rising = jax.nn.sigmoid((condition - low[:, None]) / widths[:, None])
        falling = jax.nn.sigmoid((high[:, None] - condition) / widths[:, None])
        square = jnp.sum((x[None] - at[:, None]) ** 2, axis=2)
        values = jnp.stack([jnp.sqrt(0.1 + square), square], axis=2)
        return jnp.einsum("bn,knp->bkp", rising * falling * weights, values)

    with jax.enable_x64(True):
        given = [jnp.asarray(a) for a in (X, CONDITION, WEIGHTS)]
        at = jnp.asarray(POINTS["kde"].each["centers"])
        return jax.device_get(
            (
                sums(*given, at),
                jax.grad(lambda *a: jnp.sum(jnp.sin(sums(*a, at) / 50)), (0, 1, 2))(*given),
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("which", ["dense", "sparse"])
def test_a_statistic_of_values_alone_counts_in_bins(which, monkeypatch):
    """Values and gradients in float32 against float64, by dense and by sparse sums."""
    monkeypatch.setattr(type(STATISTICS), "find", lambda self, key, name: Distances())
    at = np.broadcast_to(POINTS["kde"].each["centers"], (2, NUMBER, DIMS))
    bins = BinArrays(
        np.array([[0.0], [0.4]]),
        np.array([[0.4], [1.0]]),
        np.full((2, 1), 0.04),
        {"distances": Points({"at": at}, {})},
    )
    bins, x, condition, weights = single((bins, X, CONDITION, WEIGHTS))

    def sums(x, condition, weights):
        given, kinds = (list(x.T), [condition], weights, bins, (False,)), ("density", "counts")
        if which == "dense":
            return dense_sums("auto", *given, kinds)
        return sparse_sums(*given, kinds)

    expected, slopes = in_float64()
    found, squares = jax.jit(sums)(x, condition, weights)
    np.testing.assert_allclose(found.counts["distances"], expected, rtol=3e-6)
    assert squares.counts["distances"].shape == squares.cross["distances"].shape == expected.shape

    def scalar(*given):
        return jnp.sum(jnp.sin(sums(*given)[0].counts["distances"] / 50))

    gradients = jax.jit(jax.grad(scalar, (0, 1, 2)))(x, condition, weights)
    for ours, wanted in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=3e-4, atol=3e-5 * np.abs(wanted).max())


def test_the_order_does_not_depend_on_how_names_are_sorted():
    assert list(ordered(["fourier", "kde"])) == ["kde", "fourier"]


def test_an_unknown_statistic_is_named():
    with pytest.raises(InputError, match=r"bins.x.statistics=kdee: must be one of kde, fourier"):
        STATISTICS.find("bins.x.statistics", "kdee")
