"""Random keys, derived from (seed, step, block) and never from a device or process index."""

import jax
import jax.numpy as jnp


def as_key(randkey: int | jax.Array) -> jax.Array:
    """Return a typed PRNG key from an integer seed or a key.

    Raises:
        TypeError: neither an integer nor a typed key.
    """
    if hasattr(randkey, "dtype") and jnp.issubdtype(randkey.dtype, jax.dtypes.prng_key):
        return randkey  # type: ignore[return-value]
    if isinstance(randkey, int) or jnp.issubdtype(jnp.asarray(randkey).dtype, jnp.integer):
        return jax.random.key(randkey)
    raise TypeError(f"randkey must be an integer or a jax.random.key, not {type(randkey)}")


def step_key(key: jax.Array, step: jax.Array) -> jax.Array:
    """Key of one step of a fit, a pure function of (seed, step)."""
    return jax.random.fold_in(key, step)


def block_key(key: jax.Array, block: jax.Array) -> jax.Array:
    """Key of one block of samples within a step."""
    return jax.random.fold_in(key, block)
