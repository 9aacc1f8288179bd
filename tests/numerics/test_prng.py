"""Keys with unrolled bits draw the numbers of JAX's own keys, bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdescent_dist.numerics.prng import unrolled

pytestmark = pytest.mark.as_shipped

DRAWS = {
    "normal": lambda key: jax.random.normal(key, (7, 3)),
    "scalar": jax.random.uniform,
    "nothing": lambda key: jax.random.uniform(key, (0, 3)),
    "three axes": lambda key: jax.random.uniform(key, (5, 1, 4)),
    "indices": lambda key: jax.random.choice(key, 2000, (20,)),
    "without replacement": lambda key: jax.random.choice(key, 20, (7,), replace=False),
    "gamma": lambda key: jax.random.gamma(key, 2.0, (5,)),
    "bytes": lambda key: jax.random.bits(key, (5,), "uint8"),
    "split": lambda key: jax.random.key_data(jax.random.split(key, (3, 2))),
    "fold in": lambda key: jax.random.key_data(jax.random.fold_in(key, 4)),
    "of a child": lambda key: jax.random.normal(jax.random.split(key)[1], (3,)),
    "many keys": lambda key: jax.vmap(jax.random.normal)(jax.random.split(key, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_the_numbers_are_those_of_jax(draw):
    key = jax.random.key(2**31 + 7)
    drawn = jax.jit(lambda key: draw(unrolled(key)))(key)
    assert np.asarray(drawn).tobytes() == np.asarray(draw(key)).tobytes()


def test_numbers_in_double_precision_are_those_of_jax():
    with jax.enable_x64(True):
        key = jax.random.key(3)
        for dtype in (jnp.float64, jnp.float32):
            drawn = jax.random.normal(unrolled(key), (9,), dtype)
            assert np.array_equal(drawn, jax.random.normal(key, (9,), dtype))


def test_keys_of_another_kind_stay_as_they_are():
    other = jax.random.key(0, impl="rbg")
    assert unrolled(other) is other
    with jax.threefry_partitionable(False):
        key = jax.random.key(0)
        assert unrolled(key) is key
