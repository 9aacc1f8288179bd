"""A position among samples, relative to which their coordinates keep their digits."""

import jax
import jax.numpy as jnp

from kdescent_dist.numerics.vector_math import upper_bits

_PROBES = 127  # samples that place the origin


def near_origin(x: jax.Array) -> jax.Array:
    """A position (d,) near the samples: the median of a few, which no outlier can move far."""
    probes = jnp.sort(x[:: max(len(x) // _PROBES, 1)], axis=0)
    return upper_bits(probes[len(probes) // 2])
