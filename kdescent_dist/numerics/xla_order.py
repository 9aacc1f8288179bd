"""Sums in NumPy with the bits of the sums of XLA on a CPU.

Kernel centers are drawn by the cumulative weights. A different order of summation would round
differently and move some draws to the next sample. JAX itself would compile a program for every
number of samples. XLA guarantees no order: the tests fail when a new version of JAX changes the
order.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError

_PREFIX_GROUP = 16
_SUM_GROUP = 32
_MANY = 4096


def prefix_sums(values: np.ndarray) -> np.ndarray:
    """Return ``jnp.cumsum(values)`` of (n,): cumulative sums of groups of 16, plus an offset each.

    The offset of a group is the sum of the groups before it.
    """
    size = len(values)
    groups = np.pad(values, (0, -size % _PREFIX_GROUP)).reshape(-1, _PREFIX_GROUP)
    sums = np.cumsum(groups, axis=1, dtype=values.dtype)
    if len(sums) > 1:
        sums[1:] += prefix_sums(sums[:, -1])[:-1, None]
    return sums.reshape(-1)[:size]


def total(values: np.ndarray) -> np.ndarray | np.floating:
    """Return ``jnp.sum(values)`` of (n,): sums of groups of 32, then of 32 such sums, and so on.

    XLA hands 4096 or more values to a library with its own order of summation. JAX sums such
    arrays, on the CPU even if a GPU is the default device.

    Raises:
        InputError: JAX has no CPU backend, because of JAX_PLATFORMS.
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
