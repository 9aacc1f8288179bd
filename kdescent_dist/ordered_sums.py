"""Sums on the host in the order in which JAX adds up on a CPU, to the last bit.

Kernel centers are drawn by the cumulative weights. In any other order, rounding would move some
draws to the next sample; and JAX would compile a program for every number of samples.
"""

import jax.numpy as jnp
import numpy as np

_PREFIX_GROUP = 16
_SUM_GROUP = 32
_MANY = 4096


def prefix_sums(values: np.ndarray) -> np.ndarray:
    """Return ``jnp.cumsum(values)`` of (n,): of groups of 16, to which those before are added."""
    size = len(values)
    groups = np.pad(values, (0, -size % _PREFIX_GROUP)).reshape(-1, _PREFIX_GROUP)
    sums = np.cumsum(groups, axis=1, dtype=values.dtype)
    if len(sums) > 1:
        sums[1:] += prefix_sums(sums[:, -1])[:-1, None]
    return sums.reshape(-1)[:size]


def total(values: np.ndarray) -> np.ndarray | np.floating:
    """Return ``jnp.sum(values)`` of (n,): of groups of 32, of groups of those, and so on.

    Many values JAX leaves to a library, with an order of its own.
    """
    if len(values) >= _MANY:
        return np.asarray(jnp.sum(values))
    while len(values) > _SUM_GROUP:
        fill = -len(values) % _SUM_GROUP
        groups = np.pad(values, (fill // 2, fill - fill // 2)).reshape(-1, _SUM_GROUP)
        values = np.cumsum(groups, axis=1, dtype=values.dtype)[:, -1]
    return np.cumsum(values, dtype=values.dtype)[-1]
