"""Counts and errors against float64 NumPy: values, every gradient, and the extreme cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from kdescent_dist.counts import fourier_counts, fourier_errors, kde_counts, kde_errors
from kdescent_dist.errors import InputError
from kdescent_dist.mesh import make_mesh

KERNELS = 7
# A program depends on these alone: few of them, so that it compiles rarely.
SIZES_AND_DIMS = ((1, 2), (5, 1), (4097, 2), (9001, 3), (4096, 4))

few = settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def problems(draw):
    """Samples, weights with zeros, kernels and modes; float32 numbers held in float64."""
    size, dims = draw(st.sampled_from(SIZES_AND_DIMS))
    offset = draw(st.sampled_from([0.0, -30.0, 1e3]))
    bandwidth = draw(st.sampled_from([0.03, 0.3, 2.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(size, dims)) + offset
    weights = rng.uniform(size=size) * (rng.uniform(size=size) > 0.3)
    # Kernels on top of samples, as fits have them: narrow ones are then not all empty.
    centers = x[rng.integers(size, size=KERNELS)] + bandwidth * rng.normal(size=(KERNELS, dims))
    root = rng.normal(size=(dims, dims))
    cov = bandwidth**2 * (0.3 * root @ root.T + 0.5 * np.eye(dims))
    modes = rng.normal(size=(KERNELS, dims)) * 3.0
    arrays = (x, weights, centers, cov, modes)
    return tuple(a.astype(np.float32).astype(np.float64) for a in arrays)


def kernels(x, centers, cov):
    """Reference: (n, K) kernels, and Sigma^-1 (x - c) of shape (n, K, d)."""
    difference = x[:, None] - centers[None]
    scaled = difference @ np.linalg.inv(cov)
    exponent = -0.5 * np.sum(difference * scaled, axis=-1)
    return np.exp(exponent) / np.sqrt(np.linalg.det(2 * np.pi * cov)), scaled


def single(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


@jax.jit
def kde_gradients(cotangent, *arrays):
    return jax.vjp(kde_counts, *arrays)[1](cotangent)


@jax.jit
def fourier_gradients(real, imag, *arrays):
    def parts(*arrays):
        counts = fourier_counts(*arrays)
        return counts.real, counts.imag

    return jax.vjp(parts, *arrays)[1]((real, imag))


def assert_close(value, reference, tolerance, scale=None):
    scale = np.max(np.abs(reference)) if scale is None else scale
    assert np.shape(value) == np.shape(reference)
    np.testing.assert_allclose(value, reference, rtol=0, atol=tolerance * scale + 1e-30)


@few
@given(problems())
def test_kde_counts_match_float64(problem):
    """sum_n w_n N(x_n), in float32, at any offset, bandwidth, dimension and size."""
    x, weights, centers, cov, _ = problem
    value = kde_counts(*single(x, weights, centers, cov))
    assert value.dtype == jnp.float32
    # Whitened coordinates of 100 kernel widths are rounded to 1e-5 of a width.
    assert_close(value, weights @ kernels(x, centers, cov)[0], 3e-5)


@few
@given(problems())
def test_kde_errors_match_float64(problem):
    x, weights, centers, cov, _ = problem
    reference = np.sqrt(weights**2 @ kernels(x, centers, cov)[0] ** 2)
    assert_close(kde_errors(*single(x, weights, centers, cov)), reference, 5e-5)


@few
@given(problems())
def test_fourier_counts_match_float64(problem):
    """sum_n w_n exp(i k.x_n), to the rounding of float32 even where k.x is thousands of radians."""
    x, weights, _, _, modes = problem
    value = fourier_counts(*single(x, weights, modes))
    assert value.dtype == jnp.complex64
    assert_close(value, weights @ np.exp(1j * x @ modes.T), 3e-6, scale=weights.sum())


@few
@given(problems())
def test_fourier_errors_match_float64(problem):
    x, weights, _, _, modes = problem
    phase = x @ modes.T
    value = fourier_errors(*single(x, weights, modes))
    scale = np.sqrt(np.sum(weights**2))
    assert_close(value.real, np.sqrt(weights**2 @ np.cos(phase) ** 2), 5e-6, scale)
    assert_close(value.imag, np.sqrt(weights**2 @ np.sin(phase) ** 2), 5e-6, scale)


@few
@given(problems())
def test_kde_gradients_match_closed_form(problem):
    """The custom derivative in x, weights, centers and cov."""
    x, weights, centers, cov, _ = problem
    value, scaled = kernels(x, centers, cov)
    cotangent = np.random.default_rng(1).normal(size=KERNELS).astype(np.float32)
    mass = weights[:, None] * value * cotangent  # (n, K)
    outer = np.einsum("nk,nki,nkj->ij", mass, scaled, scaled)
    expected = (
        -np.einsum("nk,nki->ni", mass, scaled),
        value @ cotangent,
        np.einsum("nk,nki->ki", mass, scaled),
        0.5 * (outer - mass.sum() * np.linalg.inv(cov)),
    )
    gradients = kde_gradients(jnp.asarray(cotangent), *single(x, weights, centers, cov))
    # Terms of either sign cancel in a sum over samples: compare with the sum of their sizes.
    size = np.abs(mass)
    scales = (
        None,
        None,
        np.max(np.einsum("nk,nki->ki", size, np.abs(scaled))),
        np.max(np.einsum("nk,nki,nkj->ij", size, np.abs(scaled), np.abs(scaled)))
        + size.sum() * np.max(np.linalg.inv(cov)),
    )
    for gradient, reference, scale in zip(gradients, expected, scales, strict=True):
        assert_close(gradient, reference, 1e-4, scale)


@few
@given(problems())
def test_fourier_gradients_match_closed_form(problem):
    """The custom derivative in x, weights and modes."""
    x, weights, _, _, modes = problem
    wave = np.exp(1j * x @ modes.T)
    real, imag = np.random.default_rng(2).normal(size=(2, KERNELS)).astype(np.float32)
    slope = weights[:, None] * (wave.real * imag - wave.imag * real)  # (n, K)
    expected = (slope @ modes, wave.real @ real + wave.imag @ imag, slope.T @ x)
    gradients = fourier_gradients(jnp.asarray(real), jnp.asarray(imag), *single(x, weights, modes))
    scales = (
        np.max(np.abs(modes)) * np.abs(real).sum(),
        np.abs(real).sum(),
        np.max(np.abs(slope).sum(0)) * np.max(np.abs(x)),
    )
    for gradient, reference, scale in zip(gradients, expected, scales, strict=True):
        assert_close(gradient, reference, 5e-6, scale)


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


def test_memory_is_one_block_not_samples_times_kernels():
    """The gradient of 1e6 samples and 50 kernels keeps no array of their product."""
    x, centers = jnp.zeros((1_000_000, 2)), jnp.zeros((50, 2))

    def total(x):
        kde = kde_counts(x, None, centers, jnp.eye(2))
        wave = fourier_counts(x, None, centers)
        return jnp.sum(kde) + jnp.sum(wave.real)

    compiled = jax.jit(jax.grad(total)).lower(x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 100e6  # samples x kernels: 200 MB


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


def test_forward_mode_is_refused(example):
    x, weights, centers, cov, _ = single(*example)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda x: kde_counts(x, weights, centers, cov), (x,), (x,))


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
