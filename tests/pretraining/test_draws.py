"""Kernel centers are those that JAX would draw, bit for bit, though hardly anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.config.errors import InputError
from kdescent_dist.numerics import threefry
from kdescent_dist.numerics.xla_order import prefix_sums, total
from kdescent_dist.pretraining.draws import KernelDensity
from kdescent_dist.pretraining.sample import TrainingSample

pytestmark = pytest.mark.as_shipped


@pytest.fixture(params=[False, True], ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param):
        yield np.dtype(np.float64 if request.param else np.float32)


@pytest.mark.parametrize("seed", [0, 987, -5, 2**31, 2**32 - 1, 2**40 + 3])
def test_keys_are_those_of_jax(seed, dtype):
    """Also of seeds that 32 bits do not hold."""
    key = threefry.seed_key(seed)
    assert np.array_equal(key, jax.random.key_data(jax.random.key(seed)))
    keys = jax.random.key_data(jax.random.split(jax.random.key(seed), 3))
    assert np.array_equal(threefry.split(key, 3), keys)


@pytest.mark.parametrize("shape", [(7,), (300, 3), (0, 2)])
def test_uniform_numbers_are_those_of_jax(shape, dtype):
    key, low = threefry.seed_key(3), float(np.nextafter(dtype.type(-1), dtype.type(0)))
    expected = jax.random.uniform(jax.random.key(3), shape, dtype)
    assert np.array_equal(threefry.uniform(key, shape, dtype), expected)
    expected = jax.random.uniform(jax.random.key(3), shape, dtype, low, 1.0)
    assert np.array_equal(threefry.uniform(key, shape, dtype, low), expected)


@pytest.mark.parametrize("size", [1, 16, 17, 32, 33, 1000, 1025, 4095, 4096, 70_001])
def test_sums_are_added_up_in_the_order_of_jax(size):
    values = np.random.default_rng(size).uniform(size=size).astype(np.float32)
    assert total(values) == np.asarray(jnp.sum(values))
    assert np.array_equal(prefix_sums(values), jnp.cumsum(values))


def test_sums_of_jax_are_evaluated_on_the_cpu(monkeypatch):
    """A GPU, which may be the default device, would add up in another order."""
    used = []
    whole = jnp.sum
    monkeypatch.setattr(jnp, "sum", lambda a: used.append(whole(a)) or used[0])
    cpus = jax.local_devices(backend="cpu")
    with jax.default_device(cpus[-1]):
        total(np.ones(5000, np.float32))
    assert used[0].devices() == {cpus[0]}


def test_weights_are_not_summed_where_jax_has_no_cpu(monkeypatch):
    def no_cpu(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", no_cpu)
    with pytest.raises(InputError, match="JAX_PLATFORMS=cuda,cpu"):
        total(np.ones(5000, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("dims", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [301, 5000])
def test_centers_are_those_of_jax(size, weighted, dims):
    """A resampled row plus a normal offset, given the covariance, which is more precise here."""
    rng = np.random.default_rng(dims)
    x = (rng.normal(size=(size, dims)) @ rng.normal(size=(dims, dims)) + 3).astype(np.float32)
    weights = rng.uniform(size=size).astype(np.float32) if weighted else None
    rows, key = TrainingSample.whole(x, weights), jax.random.key(11)
    density = KernelDensity(rows)
    ours = density.draw(np.asarray(jax.random.key_data(key)), 500)

    shares = jax.scipy.stats.gaussian_kde(x.T, weights=weights).weights
    row_key, offset_key = jax.random.split(key)
    drawn = jax.random.choice(row_key, size, (500,), p=shares)
    cov, origin = density.kernel_cov, jnp.zeros(dims, np.float32)
    offsets = jax.random.multivariate_normal(offset_key, origin, cov, (500,), np.float32)
    assert np.array_equal(ours, x[drawn] + np.asarray(offsets))
