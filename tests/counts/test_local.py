"""Counts and errors in extreme cases, in programs of all kinds, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.local import fourier_counts, fourier_errors, kde_counts, kde_errors
from kdescent_dist.distributed.mesh import make_mesh

KERNELS = 7


def kernels(x, centers, cov):
    """Reference: (n, K) kernels, and Sigma^-1 (x - c) of shape (n, K, d)."""
    difference = x[:, None] - centers[None]
    scaled = difference @ np.linalg.inv(cov)
    exponent = -0.5 * np.sum(difference * scaled, axis=-1)
    return np.exp(exponent) / np.sqrt(np.linalg.det(2 * np.pi * cov)), scaled


def single(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


def assert_close(value, reference, tolerance, scale=None):
    scale = np.max(np.abs(reference)) if scale is None else scale
    assert np.shape(value) == np.shape(reference)
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * scale + 1e-30)


@pytest.fixture
def example():
    rng = np.random.default_rng(3)
    return (
        rng.normal(size=(5000, 2)) + 4.0,
        rng.uniform(size=5000),
        rng.normal(size=(KERNELS, 2)) + 4.0,
        np.array([[0.3, 0.1], [0.1, 0.2]]),
        rng.normal(size=(KERNELS, 2)),
    )


def test_double_precision_follows_the_inputs(example):
    """float64 in, float64 out and exact to 1e-13, in values and gradients."""
    x, weights, centers, cov, modes = example
    reference, scaled = kernels(x, centers, cov)
    slope = -2 * np.einsum("n,k,nk,nki->ni", weights, weights @ reference, reference, scaled)
    with jax.enable_x64(True):
        value = kde_counts(x, weights, centers, cov)
        wave = fourier_counts(x, weights, modes)
        gradient = jax.grad(lambda x: jnp.sum(kde_counts(x, weights, centers, cov) ** 2))(x)
        assert value.dtype == jnp.float64
        assert wave.dtype == jnp.complex128
    assert_close(value, weights @ reference, 1e-13)
    assert_close(wave, weights @ np.exp(1j * x @ modes.T), 1e-13, weights.sum())
    assert_close(gradient, slope, 1e-13)


def test_missing_weights_are_ones(example):
    x, _, centers, cov, modes = single(*example)
    x = x[:50]
    ones = jnp.ones(len(x))
    assert jnp.array_equal(kde_counts(x, None, centers, cov), kde_counts(x, ones, centers, cov))
    assert jnp.array_equal(fourier_counts(x, None, modes), fourier_counts(x, ones, modes))


@pytest.mark.parametrize("far", [1e3, 1e20, -3e38])
def test_far_samples_vanish_exactly(example, far):
    """Zero counts, zero errors and exactly zero, finite gradients: never NaN."""
    _, weights, centers, cov, _ = single(*example)
    x = jnp.full((len(weights), 2), far) * jnp.array([1.0, -1.0])
    value, pull = jax.vjp(kde_counts, x, weights, centers, cov)
    for array in (value, kde_errors(x, weights, centers, cov), *pull(jnp.ones(KERNELS))):
        assert jnp.all(array == 0.0)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_the_samples_does_not_matter(example, unit):
    """What is far is decided in kernel widths; counts per unit area scale with it, too."""
    x, weights, centers, cov, _ = example
    scaled = single(x * unit, weights, centers * unit, cov * unit**2)
    reference = weights @ kernels(x, centers, cov)[0]
    assert_close(kde_counts(*scaled) * unit**2, reference, 1e-5)
    expected = np.sqrt(weights**2 @ kernels(x, centers, cov)[0] ** 2)
    assert_close(kde_errors(*scaled) * unit**2, expected, 1e-5)


def test_one_far_sample_leaves_the_others_alone(example):
    """An outlier neither turns counts into NaN nor costs the other samples their digits."""
    x, weights, centers, cov, modes = single(*example)
    outlier = jnp.concatenate([x, jnp.array([[1e20, 1e20]])])
    more = jnp.append(weights, 0.0)
    assert jnp.allclose(
        kde_counts(outlier, more, centers, cov), kde_counts(x, weights, centers, cov), rtol=1e-6
    )
    assert jnp.allclose(
        fourier_counts(outlier, more, modes), fourier_counts(x, weights, modes), atol=5e-3
    )


def test_nan_samples_are_not_hidden(example):
    x, weights, centers, cov, modes = single(*example)
    x = x.at[17, 0].set(jnp.nan)
    assert jnp.all(jnp.isnan(kde_counts(x, weights, centers, cov)))
    assert jnp.all(jnp.isnan(fourier_counts(x, weights, modes).real))


def test_errors_are_finite_with_finite_gradients_at_empty_kernels(example):
    x, weights, centers, cov, _ = single(*example)
    centers = centers.at[0].set(1e6)

    def total(x):
        return jnp.sum(kde_errors(x, weights, centers, cov))

    assert kde_errors(x, weights, centers, cov)[0] == 0.0
    assert jnp.all(jnp.isfinite(jax.grad(total)(x)))


def test_zero_mode_counts_the_weights(example):
    x, weights, *_ = single(*example)
    value = fourier_counts(x, weights, jnp.zeros((1, 2)))
    assert value.imag == 0.0
    np.testing.assert_allclose(value.real, weights.sum(), rtol=1e-6)
    assert fourier_errors(x, weights, jnp.zeros((1, 2))).imag == 0.0


def test_no_samples_or_no_kernels_give_zeros(example):
    x, weights, centers, cov, modes = single(*example)
    assert jnp.array_equal(kde_counts(x[:0], weights[:0], centers, cov), jnp.zeros(KERNELS))
    assert jnp.array_equal(fourier_counts(x[:0], weights[:0], modes), jnp.zeros(KERNELS))
    assert kde_counts(x, weights, centers[:0], cov).shape == (0,)
    assert fourier_errors(x, weights, modes[:0]).shape == (0,)


def test_sums_do_not_drift_with_the_number_of_samples():
    """A running float32 sum of 3e6 equal terms would be off by 1e-3."""
    size = 3_000_000
    x = jnp.full((size, 1), 0.3)
    value = kde_counts(x, None, jnp.zeros((1, 1)), jnp.ones((1, 1)))
    np.testing.assert_allclose(value, size * np.exp(-0.045) / np.sqrt(2 * np.pi), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.as_shipped
def test_memory_is_one_block_not_samples_times_kernels():
    """The gradient of 1e6 samples and 50 kernels keeps no array of their product."""
    x, centers = jnp.zeros((1_000_000, 2)), jnp.zeros((50, 2))

    def total(x):
        kde = kde_counts(x, None, centers, jnp.eye(2))
        wave = fourier_counts(x, None, centers)
        return jnp.sum(kde) + jnp.sum(wave.real)

    compiled = jax.jit(jax.grad(total)).lower(x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 100e6  # samples x kernels: 200 MB


@pytest.mark.slow
@pytest.mark.as_shipped
def test_bits_do_not_depend_on_the_program_around(example):
    """The same counts and gradients alone, under lax.map, under vmap and beside other outputs."""
    x, weights, centers, cov, modes = single(*example)

    def step(centers, modes):
        def loss(x, weights):
            kde = kde_counts(x, weights, centers, cov)
            return jnp.sum(kde**2) + jnp.sum(jnp.abs(fourier_counts(x, weights, modes)) ** 2)

        return jax.value_and_grad(loss, (0, 1))(x, weights)

    alone = jax.jit(step)(centers, modes)
    twice = (jnp.stack([centers, centers + 1]), jnp.stack([modes, modes + 1]))
    mapped = jax.jit(lambda c, m: jax.lax.map(lambda pair: step(*pair), (c, m)))(*twice)
    crowded = jax.jit(lambda c, m: (jnp.sin(c), step(c, m), jax.grad(lambda m: step(c, m)[0])(m)))
    for other in (jax.tree.map(lambda a: a[0], mapped), crowded(centers, modes)[1]):
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(other), strict=True):
            assert jnp.array_equal(a, b)


@pytest.mark.slow
def test_vmap_over_bins(example):
    x, weights, centers, cov, modes = single(*example)
    shifts = jnp.arange(3.0)

    def gradient(shift):
        return jax.grad(lambda x: jnp.sum(kde_counts(x, weights, centers + shift, cov) ** 2))(x)

    def wave(shift):
        return fourier_counts(x, weights, modes + shift)

    stacked, waves = jax.vmap(gradient)(shifts), jax.vmap(wave)(shifts)
    for i, shift in enumerate(shifts):
        assert_close(stacked[i], gradient(shift), 1e-6)
        assert_close(waves[i], wave(shift), 1e-6, float(weights.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("check_vma", [True, False])
def test_local_counts_inside_shard_map(example, check_vma):
    """Counts are local: their psum over the shards, and the gradients, are those of all samples."""
    x, weights, centers, cov, modes = single(*example)
    mesh = make_mesh(samples=4)

    def loss(x, weights, centers):
        def local(x, weights, centers):
            kde = kde_counts(x, weights, centers, cov)
            return jax.lax.psum((kde, fourier_counts(x, weights, modes)), "samples")

        kde, wave = jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(P("samples"), P("samples"), P()),
            out_specs=P(),
            check_vma=check_vma,
        )(x, weights, centers)
        return jnp.sum(kde**2) + jnp.sum(jnp.abs(wave) ** 2)

    def whole(x, weights, centers):
        kde = kde_counts(x, weights, centers, cov)
        return jnp.sum(kde**2) + jnp.sum(jnp.abs(fourier_counts(x, weights, modes)) ** 2)

    arguments = (x, weights, centers)
    sharded = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*arguments)
    alone = jax.jit(jax.value_and_grad(whole, (0, 1, 2)))(*arguments)
    for a, b in zip(jax.tree.leaves(sharded), jax.tree.leaves(alone), strict=True):
        assert_close(a, b, 2e-5)


@pytest.mark.slow
def test_second_derivatives_by_reverse_mode(example):
    """The gradient of a gradient, which is right in single precision, too."""
    x, weights, *kernels = example
    arrays = (x[:100], weights[:100], *kernels)

    @jax.jit
    def gradient(x, weights, centers, cov, modes):
        def loss(centers):
            wave = fourier_counts(x, weights, centers * modes)
            return jnp.sum(kde_counts(x, weights, centers, cov) ** 2) + jnp.sum(wave.real**2)

        return jax.grad(loss)(centers)

    direction = np.random.default_rng(0).normal(size=kernels[0].shape)

    def slope(*arrays):
        return jnp.sum(gradient(*arrays) * direction.astype(np.float32))

    value = jax.jit(jax.grad(slope, 2))(*single(*arrays))
    with jax.enable_x64(True):
        up, down = (
            np.asarray(gradient(*arrays[:2], arrays[2] + step * direction, *arrays[3:]))
            for step in (1e-5, -1e-5)
        )
    assert_close(value, (up - down) / 2e-5, 1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros(5000)}, "x has shape"),
        ({"weights": np.ones(10)}, "weights has shape"),
        ({"centers": np.zeros((7, 3))}, "centers has shape"),
        ({"cov": np.eye(3)}, "cov has shape"),
    ],
)
def test_mismatched_shapes_are_named(example, change, message):
    arguments = dict(zip(("x", "weights", "centers", "cov"), example, strict=False)) | change
    with pytest.raises(InputError, match=message):
        kde_counts(**arguments)
