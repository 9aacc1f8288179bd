"""The fastest backend for a device, and whether a backend computes there what it should.

Which is fastest follows from the instructions of the programs that are compiled for an H100; no
time was measured on a card (docs/benchmarks.md).
"""

import re
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.counts.backends import AUTO
from kdescent_dist.counts.local import fourier_counts, kde_counts

HOPPER = 9  # the first compute capability for which there are hand-written kernels
# Samples of a block from which on hand-written kernels save more than their ten launches more cost.
FEWEST = 32_768
_SAMPLES, _KERNELS = 5000, 9  # more samples than a program takes, and some left over
_TOLERANCE = 1e-4  # relative to the largest number; wrong programs are far off


def backend_on(asked: str, device: Any, samples: int, dtype: Any) -> str:
    """The backend that is asked for, or, for ``auto``, the fastest.

    Args:
        asked: name of a backend, or ``auto``.
        device: a device of JAX.
        samples: samples of a block.
        dtype: dtype of the samples.
    """
    if asked != "auto":
        return asked
    capability = re.match(r"(\d+)\.\d+$", str(getattr(device, "compute_capability", "")))
    hopper = capability is not None and int(capability[1]) >= HOPPER
    if hopper and np.dtype(dtype) == np.float32 and samples >= FEWEST:
        return "pallas"
    return AUTO.get(device.platform, AUTO["default"])


@lru_cache(maxsize=8)
def fault_of(backend: str, device: Any) -> str | None:
    """Why a backend cannot be used on a device; None if its counts and gradients are right.

    A small problem is compiled and carried out on the device, once in each process.
    """
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(_SAMPLES, 2)), rng.uniform(size=_SAMPLES)
    points, factors = rng.normal(size=(_KERNELS, 2)), rng.normal(size=(3, _KERNELS))
    given = [np.asarray(a, np.float32) for a in (x, w, points, factors)]

    def value(x, w, points, factors):
        wave = fourier_counts(x, w, points, backend)
        kde = kde_counts(x, w, points, jnp.eye(2, dtype=x.dtype), backend)
        return jnp.sum(factors * jnp.stack([kde, wave.real, wave.imag]))

    try:
        run = jax.jit(jax.value_and_grad(value, (0, 1)))
        found = jax.device_get(run(*jax.device_put(given, device)))
    except Exception as error:  # of the compiler, of the driver, or of the card
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    for what, one, other in zip(
        ("the sum", "the gradient in samples", "the gradient in weights"),
        jax.tree.leaves(found),
        _expected(x, w, points, factors),
        strict=True,
    ):
        apart = np.max(np.abs(one - other)) / np.max(np.abs(other))
        if not apart < _TOLERANCE:
            return f"{what} is off by {apart:.1e} of the largest number"
    return None


def _expected(
    x: np.ndarray, w: np.ndarray, points: np.ndarray, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The value of the small problem and its gradients, in double precision."""
    away, phase = x[:, None] - points, x @ points.T
    kernel = np.exp(-0.5 * np.sum(away**2, axis=-1)) / (2 * np.pi)
    of_kernel, of_cos, of_sin = factors
    each = kernel @ of_kernel + np.cos(phase) @ of_cos + np.sin(phase) @ of_sin
    slopes = (np.cos(phase) * of_sin - np.sin(phase) * of_cos) @ points
    slopes -= np.einsum("nk,nkd->nd", kernel * of_kernel, away)
    return np.asarray(w @ each), w[:, None] * slopes, each
