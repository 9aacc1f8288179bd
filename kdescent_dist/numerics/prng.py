"""Random keys, derived from (seed, step, block) and never from a device or process index."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import define_prng_impl

from kdescent_dist.numerics import threefry

LAST_INDEX = np.uint32(2**32 - 1)

_THREEFRY = "threefry2x32"


def as_key(randkey: int | jax.Array) -> jax.Array:
    """Return a typed PRNG key from an integer seed or a key.

    Raises:
        TypeError: neither an integer nor a typed key.
    """
    if isinstance(randkey, jax.Array) and jnp.issubdtype(randkey.dtype, jax.dtypes.prng_key):
        return randkey
    if isinstance(randkey, int) or jnp.issubdtype(jnp.asarray(randkey).dtype, jnp.integer):
        return jax.random.key(randkey)
    raise TypeError(f"randkey must be an integer or a jax.random.key, not {type(randkey)}")


def seed_number(randkey: int | jax.Array) -> int:
    """A non-negative integer for other random numbers, which follows from a seed or a key."""
    if not isinstance(randkey, jax.Array):
        return abs(int(randkey))
    words = np.asarray(jax.random.key_data(as_key(randkey))).ravel()
    return sum(int(word) << 32 * i for i, word in enumerate(words[::-1]))


def block_key(key: jax.Array, block: jax.Array | int) -> jax.Array:
    """Key of a block of samples within a step."""
    return jax.random.fold_in(key, block)


def draw_key(key: jax.Array) -> jax.Array:
    """Key for drawing kernels and modes within a step; no block has this key."""
    return jax.random.fold_in(key, LAST_INDEX)


# A schedule: (key of the fit, step) -> (key of the step, key of the fit for the next step).


def fold_schedule(key: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The key of a step is a pure function of (seed, step)."""
    return jax.random.fold_in(key, step), key


def chain_schedule(key: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split at every step, as the drop-in ``adam`` does."""
    del step
    key, key_of_step = jax.random.split(key)
    return key_of_step, key


def fixed_schedule(key: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same key at every step."""
    del step
    return key, key


def unrolled(key: jax.Array) -> jax.Array:
    """A key that gives the same random bits, faster on a CPU.

    On CPUs, JAX runs the 20 rounds of Threefry in a loop that writes all words to memory five
    times. Unrolled, the words stay in registers. A key of another implementation is returned
    unchanged.
    """
    if not is_default(key):
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_UNROLLED)


def is_default(key: jax.Array) -> bool:
    """Whether the key uses Threefry with JAX's default, partitionable counters."""
    partitionable = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    return partitionable and jax.random.key_impl(key) == _THREEFRY


def _bits(key: jax.Array, width: int, shape: tuple[int, ...]) -> jax.Array:
    """Threefry-2x32 of the index of each number, as in JAX."""
    if width != 32 or not 0 < math.prod(shape) < 2**32:
        return jax.random.bits(_rolled(key), shape, f"uint{width}")
    index = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = np.uint32(math.prod(shape[axis + 1 :]))
        index = index + stride * lax.broadcasted_iota(jnp.uint32, shape, axis)
    left, right = threefry.encrypt(key, np.uint32(0), index)
    # Without the barrier, XLA would recompute the bits for each use.
    return lax.optimization_barrier(left ^ right)


def _rolled(key: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(key, impl=_THREEFRY)


_UNROLLED = define_prng_impl(
    key_shape=(2,),
    seed=lambda seed: jax.random.key_data(jax.random.key(seed, impl=_THREEFRY)),
    split=lambda key, shape: jax.random.key_data(jax.random.split(_rolled(key), shape)),
    random_bits=_bits,
    fold_in=lambda key, data: jax.random.key_data(jax.random.fold_in(_rolled(key), data)),
    name="unrolled_threefry2x32",
    tag="unrolled",
)
