"""Threefry-2x32, and the numbers of ``jax.random`` computed in NumPy.

The cipher has 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
``split`` and ``uniform`` follow the defaults of JAX. They draw few numbers, for which JAX would
compile each program for a tenth of a second.
"""

from typing import Any

import numpy as np
from jax.dtypes import canonicalize_dtype

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def encrypt(key: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """Encrypt pairs of 32-bit words, in NumPy or traced by JAX.

    Args:
        key: (2,) key.
        left: upper words, an array or a scalar.
        right: array of lower words. NumPy would warn about the overflow of a scalar.

    Returns:
        Upper and lower words, each of the shape of ``right``.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    left, right = left + schedule[0], right + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            left = left + right
            right = (right << np.uint32(rotation)) | (right >> np.uint32(32 - rotation))
            right = left ^ right
        left = left + schedule[(group + 1) % 3]
        right = right + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return left, right


def seed_key(seed: int) -> np.ndarray:
    """Return the key (2,) that ``jax.random.key(seed)`` holds."""
    high = seed >> 32 if canonicalize_dtype(np.int64) == np.int64 else 0
    return np.array([high & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def split(key: np.ndarray, number: int = 2) -> list[np.ndarray]:
    """Return the keys that ``jax.random.split(key, number)`` holds, (2,) each."""
    return list(np.stack(_words(key, number), axis=1))


def uniform(
    key: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, low: float = 0.0
) -> np.ndarray:
    """Return what ``jax.random.uniform(key, shape, dtype, low, 1.0)`` returns.

    Args:
        key: (2,) key.
        shape: shape of the result.
        dtype: float32 or float64.
        low: 0, or the smallest number of ``dtype`` above -1.
    """
    first, second = _words(key, int(np.prod(shape)))
    if dtype == np.float32:
        bits, kept, one = first ^ second, 9, np.uint32(0x3F800000)
    else:
        bits = (first.astype(np.uint64) << np.uint64(32)) | second
        kept, one = 12, np.uint64(0x3FF0000000000000)
    # The random bits become the mantissa of a number in [1, 2).
    unit = ((bits >> bits.dtype.type(kept)) | one).view(dtype) - dtype.type(1)
    least = dtype.type(low)
    return np.maximum(least, unit * (dtype.type(1) - least) + least).reshape(shape)


def _words(key: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Encrypt the counters 0 to ``number`` - 1, split into pairs of 32-bit words."""
    counter = np.arange(number, dtype=np.uint64)
    return encrypt(key, (counter >> np.uint64(32)).astype(np.uint32), counter.astype(np.uint32))
