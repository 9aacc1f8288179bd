"""Sums on the host in the order in which XLA adds up on a CPU, to the last bit.

Kernel centers are drawn by the cumulative weights. In any other order, rounding would move some
draws to the next sample; and JAX would compile a program for every number of samples. XLA promises
no order: the tests tell when an upgrade of JAX brings another one.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError

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

    Many values XLA leaves to a library, with an order of its own: these are summed by JAX, on the
    CPU also where a GPU is the default device.

    Raises:
        InputError: JAX has been kept from its CPU backend.
    """
    if len(values) >= _MANY:
        try:
            cpu = jax.local_devices(backend="cpu")[0]
        except RuntimeError as error:
            raise InputError(
                "JAX_PLATFORMS leaves out cpu, on which the training weights are summed: set "
                "JAX_PLATFORMS=cuda,cpu"
            ) from error
        with jax.default_device(cpu):
            return np.asarray(jnp.sum(values))
    while len(values) > _SUM_GROUP:
        fill = -len(values) % _SUM_GROUP
        groups = np.pad(values, (fill // 2, fill - fill // 2)).reshape(-1, _SUM_GROUP)
        values = np.cumsum(groups, axis=1, dtype=values.dtype)[:, -1]
    return np.cumsum(values, dtype=values.dtype)[-1]
