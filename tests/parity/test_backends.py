"""All backends of the counts give the numbers of float64 NumPy, wherever they are called from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.backends import BACKENDS
from kdescent_dist.counts.local import fourier_counts, kde_counts
from kdescent_dist.distributed.mesh import make_mesh

GIVEN = [backend for backend in BACKENDS if backend != "auto"]
SIZE, KERNELS, DIMS = 4500, 11, 2  # divides no block and no chunk


def make_arrays(offset=5.0):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(SIZE, DIMS)) + offset
    weights = rng.uniform(size=SIZE) * (rng.uniform(size=SIZE) > 0.3)
    centers = rng.normal(size=(KERNELS, DIMS)) + offset
    cov = np.array([[0.3, 0.2], [0.2, 0.4]])
    modes = rng.normal(size=(KERNELS, DIMS))
    return [a.astype(np.float32).astype(np.float64) for a in (x, weights, centers, cov, modes)]


ARRAYS = make_arrays()


def single(arrays=ARRAYS):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


def loss(backend, x, weights, centers, cov, modes):
    """A loss that needs every sum of the counts, and its gradients all of those of the backward."""
    kde = kde_counts(x, weights, centers, cov, backend=backend)
    wave = fourier_counts(x, weights, modes, backend=backend)
    value = jnp.sum(kde**2) + jnp.sum(wave.real * jnp.arange(KERNELS)) + jnp.sum(wave.imag**2)
    return value, (kde, wave)


def reference(x, weights, centers, cov, modes):
    """The counts in float64, and the gradients of the loss, in closed form."""
    difference = x[:, None] - centers[None]
    scaled = difference @ np.linalg.inv(cov)
    kernels = np.exp(-0.5 * np.sum(difference * scaled, axis=-1))
    kernels /= np.sqrt(np.linalg.det(2 * np.pi * cov))
    waves = np.exp(1j * x @ modes.T)
    kde, wave = weights @ kernels, weights @ waves
    mass = weights[:, None] * kernels * 2 * kde  # (n, K)
    real, imag = np.arange(KERNELS), 2 * wave.imag
    slope = weights[:, None] * (waves.real * imag - waves.imag * real)
    outer = np.einsum("nk,nki,nkj->ij", mass, scaled, scaled)
    gradients = (
        slope @ modes - np.einsum("nk,nki->ni", mass, scaled),
        kernels @ (2 * kde) + waves.real @ real + waves.imag @ imag,
        np.einsum("nk,nki->ki", mass, scaled),
        0.5 * (outer - mass.sum() * np.linalg.inv(cov)),
        slope.T @ x,
    )
    return (kde, wave), gradients


def value_and_gradients(backend, arrays):
    step = jax.jit(jax.value_and_grad(loss, range(1, 6), has_aux=True), static_argnums=0)
    (_, counts), gradients = step(backend, *arrays)
    return counts, gradients


def assert_close(values, references, tolerance):
    for value, expected in zip(jax.tree.leaves(values), jax.tree.leaves(references), strict=True):
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("backend", GIVEN)
def test_counts_and_all_gradients_match_float64(backend):
    counts, gradients = value_and_gradients(backend, single())
    assert counts[0].dtype == jnp.float32
    assert_close((counts, gradients), reference(*ARRAYS), 2e-5)


@pytest.mark.parametrize("backend", GIVEN)
def test_double_precision_is_kept(backend):
    with jax.enable_x64(True):
        counts, gradients = value_and_gradients(backend, [jnp.asarray(a) for a in ARRAYS])
        assert counts[0].dtype == jnp.float64
    assert_close((counts, gradients), reference(*ARRAYS), 1e-12)


@pytest.mark.parametrize("backend", GIVEN)
def test_a_far_model_gives_exact_zeros_and_no_nan(backend):
    _, weights, centers, cov, _ = single()
    for far in (1e3, 1e30):
        x = jnp.full((SIZE, DIMS), far) * jnp.array([1.0, -1.0])
        value, pull = jax.vjp(lambda *a: kde_counts(*a, backend=backend), x, weights, centers, cov)
        for array in (value, *pull(jnp.ones(KERNELS))):
            assert jnp.all(array == 0.0)


# JAX interprets no Pallas kernel where it checks which arrays vary over the mesh.
@pytest.mark.parametrize(
    ("backend", "check_vma"), [("auto", False), ("fused", True), ("pallas", False)]
)
def test_a_backend_works_in_vmap_and_checkpoint_on_shards(backend, check_vma):
    """Two bins by vmap, recomputed in the backward pass, on samples dealt out to four devices."""
    x, weights, *kernels = single()
    scales = jnp.array([1.0, 0.5])

    def counts(x, weights):
        @jax.checkpoint
        def of_bin(scale):
            sums = loss(backend, x, scale * weights, *kernels)[1]
            return jax.lax.psum(sums, "samples")

        return jax.vmap(of_bin)(scales)

    def value(x, weights):
        specs = {"in_specs": (P("samples"), P("samples")), "out_specs": P()}
        mesh = make_mesh(samples=4)
        kde, wave = jax.shard_map(counts, mesh=mesh, check_vma=check_vma, **specs)(x, weights)
        both = jnp.sum(kde[0] ** 2) + jnp.sum(wave[0].real * jnp.arange(KERNELS))
        return both + jnp.sum(wave[0].imag ** 2), (kde, wave)

    step = jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))
    (_, (kde, wave)), gradients = step(x, weights)
    expected, slopes = reference(*ARRAYS)
    assert_close(((kde[0], wave[0]), gradients), (expected, slopes[:2]), 2e-5)
    assert_close((2 * kde[1], 2 * wave[1]), expected, 2e-5)


@pytest.mark.as_shipped
def test_auto_is_the_tiled_backend_on_a_cpu():
    """Bit for bit."""
    for a, b in zip(
        jax.tree.leaves(value_and_gradients("auto", single())),
        jax.tree.leaves(value_and_gradients("tiled", single())),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_an_unknown_form_is_refused_with_the_valid_ones():
    x, weights, centers, cov, modes = single()
    with pytest.raises(
        InputError, match="backend=triton: must be one of auto, tiled, fused, pallas"
    ):
        kde_counts(x, weights, centers, cov, backend="triton")
    with pytest.raises(InputError, match="must be one of auto"):
        fourier_counts(x, weights, modes, backend="triton")
