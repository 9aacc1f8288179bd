"""The random keys of whole populations after a fit."""

import jax
import numpy as np

from kdescent_dist.numerics.prng import as_key, draw_key, seed_number


def population_keys(
    seed: int | jax.Array, number: int, *, stream: int = 0, fixed_key: bool = False
) -> list[np.ndarray]:
    """Data of the keys of ``number`` populations, for ``jax.random.wrap_key_data``.

    Args:
        seed: seed of the fit, any non-negative integer, or its random key.
        number: number of populations.
        stream: different streams have different keys.
        fixed_key: whether all steps of the fit have one key. The first population is then the
            population of the fit.
    """
    # A key takes at most 64 bits; a seed may be larger.
    seeds = np.random.SeedSequence(seed_number(seed) + stream).generate_state(number)
    found = list(np.asarray(_key_data(seeds)))
    if fixed_key:
        found[0] = np.asarray(jax.random.key_data(as_key(seed)))
    return found


@jax.jit
def _key_data(seeds: jax.Array) -> jax.Array:
    return jax.random.key_data(jax.vmap(lambda seed: draw_key(jax.random.key(seed)))(seeds))
