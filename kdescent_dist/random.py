"""Random keys, derived from (seed, step, block) and never from a device or process index."""

import jax
import jax.numpy as jnp
import numpy as np

LAST_INDEX = np.uint32(2**32 - 1)


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


def block_key(key: jax.Array, block: jax.Array | int) -> jax.Array:
    """Key of one block of samples within a step."""
    return jax.random.fold_in(key, block)


def draw_key(key: jax.Array) -> jax.Array:
    """Key of the kernels and modes that are drawn within a step: that of no block."""
    return jax.random.fold_in(key, LAST_INDEX)


# A schedule maps (key of the fit, step) to (key of the step, key of the fit for the next step).


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
