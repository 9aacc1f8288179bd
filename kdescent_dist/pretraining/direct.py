"""Direct training sums over all pairs of samples and kernels or modes, in any dimension.

The host first transforms samples, kernels and modes in double precision: a pair then takes few
operations. One pass gives the sums of the counts and of their errors.
"""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.counts.contraction import Columns
from kdescent_dist.counts.fourier import phase_of
from kdescent_dist.counts.kde import FAR, SCALE, gaussian
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.numerics.vector_math import cos_sin_turns, exp2_nonpositive
from kdescent_dist.pretraining.chunks import Counting, chunked_sums

_PAIRS = 1 << 18  # pairs that the host sums at once


def kernel_sums(
    z: np.ndarray, weights: np.ndarray, centers: np.ndarray, options: Counting
) -> np.ndarray:
    """Sum kernels of unit covariance and height: ``q = exp(-|z_n - c_k|^2 / 2)``.

    Args:
        z: (d, n) whitened samples, in double precision.
        weights: (n,) weights of about 1, in the dtype of the computation.
        centers: (d, K) whitened kernel centers, in double precision.
        options: how the work is shared.

    Returns:
        (2, K): ``sum_n w_n q_nk`` and ``sum_n w_n^2 q_nk^2``.
    """
    scaled = [np.clip(SCALE * a, -FAR, FAR).astype(weights.dtype) for a in (z, centers)]
    return chunked_sums(_kernel_body, scaled[0], weights, scaled[1], options).astype(float)


def wave_sums(
    x: np.ndarray, weights: np.ndarray, modes: np.ndarray, options: Counting
) -> np.ndarray:
    """Sum plane waves ``c = cos(k . x_n)`` and ``s = sin(k . x_n)``.

    Args:
        x: (d, n) samples relative to an origin among the samples, in double precision.
        weights: (n,) weights of about 1, in the dtype of the computation.
        modes: (d, K) modes, in double precision.
        options: how the work is shared.

    Returns:
        (5, K): the sums of ``w c``, ``w s``, ``w^2 c^2``, ``w^2 s^2`` and ``w^2 c s``.
    """
    dtype = weights.dtype
    turns = (modes * (0.5 / math.pi)).astype(dtype)
    return chunked_sums(_wave_body, x.astype(dtype), weights, turns, options).astype(float)


def few_kernel_sums(z: np.ndarray, weights: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Like ``kernel_sums``, in double precision on the host."""
    sums = np.zeros((2, centers.shape[1]))
    for rows in _blocks(z.shape[1], centers.shape[1]):
        square = sum((a[rows, None] - c) ** 2 for a, c in zip(z, centers, strict=True))
        value = np.exp(-0.5 * square) * weights[rows, None]
        sums += [value.sum(axis=0), (value * value).sum(axis=0)]
    return sums


def few_wave_sums(x: np.ndarray, weights: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Like ``wave_sums``, in double precision on the host."""
    sums = np.zeros((5, modes.shape[1]))
    for rows in _blocks(x.shape[1], modes.shape[1]):
        phase = x[:, rows].T @ modes
        cos, sin = (wave(phase) * weights[rows, None] for wave in (np.cos, np.sin))
        sums += [a.sum(axis=0) for a in (cos, sin, cos * cos, sin * sin, cos * sin)]
    return sums


def _blocks(samples: int, kernels: int) -> Iterator[slice]:
    size = max(_PAIRS // kernels, 1)
    return (slice(i, i + size) for i in range(0, samples, size))


def _kernel_body(columns: Columns, w: jax.Array, centers: Columns) -> jax.Array:
    (kernel,) = gaussian(exp2_nonpositive, *_crossed(columns, centers))
    return jnp.stack([matmul(w, kernel), matmul(w * w, kernel * kernel)])


def _wave_body(columns: Columns, w: jax.Array, turns: Columns) -> jax.Array:
    phase = phase_of(0.0, *_crossed(columns, turns))
    cos, sin = cos_sin_turns(phase)
    of_squares = [matmul(w * w, a) for a in (cos * cos, sin * sin, cos * sin)]
    return jnp.stack([matmul(w, cos), matmul(w, sin), *of_squares])


def _crossed(columns: Columns, kernels: Columns) -> tuple[Columns, Columns]:
    return [c[:, None] for c in columns], [k[None, :] for k in kernels]
