"""A position near the samples; coordinates relative to this position keep their digits."""

import jax
import jax.numpy as jnp

from kdescent_dist.numerics.vector_math import upper_bits

_PROBES = 127  # least number of samples for the origin, or all samples if there are fewer


def near_origin(x: jax.Array) -> jax.Array:
    """A position (d,) near the samples: the median of some of them, which is robust to outliers.

    The result has half of the significant bits, as ``phase_turns`` needs it.
    """
    probes = jnp.sort(x[:: max(len(x) // _PROBES, 1)], axis=0)
    return upper_bits(probes[len(probes) // 2])
