"""Counter-based random bits on the host: the same numbers as ``jax.random``, with no compiling.

Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
and JAX's default way to split its keys and to turn its bits into floating-point numbers. A
program for each of these takes a tenth of a second to compile; the numbers themselves are few.
"""

import numpy as np
from jax.dtypes import canonicalize_dtype

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def seed_key(seed: int) -> np.ndarray:
    """Return the key (2,) that ``jax.random.key(seed)`` holds."""
    high = seed >> 32 if canonicalize_dtype(np.int64) == np.int64 else 0
    return np.array([high & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def split(key: np.ndarray, number: int = 2) -> list[np.ndarray]:
    """Return the keys that ``jax.random.split(key, number)`` holds, (2,) each."""
    return list(np.stack(_block(key, number), axis=1))


def uniform(
    key: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, low: float = 0.0
) -> np.ndarray:
    """Return what ``jax.random.uniform(key, shape, dtype, low, 1.0)`` returns.

    Args:
        key: (2,) key.
        shape: shape of the result.
        dtype: float32 or float64.
        low: 0, or the number of ``dtype`` that follows after -1.
    """
    first, second = _block(key, int(np.prod(shape)))
    if dtype == np.float32:
        bits, kept, one = first ^ second, 9, np.uint32(0x3F800000)
    else:
        bits = (first.astype(np.uint64) << np.uint64(32)) | second
        kept, one = 12, np.uint64(0x3FF0000000000000)
    # Random digits after the point of a number from [1, 2).
    unit = ((bits >> bits.dtype.type(kept)) | one).view(dtype) - dtype.type(1)
    least = dtype.type(low)
    return np.maximum(least, unit * (dtype.type(1) - least) + least).reshape(shape)


def _block(key: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Encrypt the counters below ``number``, taken as pairs of 32-bit words."""
    counter = np.arange(number, dtype=np.uint64)
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    left = (counter >> np.uint64(32)).astype(np.uint32) + schedule[0]
    right = counter.astype(np.uint32) + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            left = left + right
            right = (right << np.uint32(rotation)) | (right >> np.uint32(32 - rotation))
            right = right ^ left
        left = left + schedule[(group + 1) % 3]
        # The count of the groups is added by an array: only scalars warn when they wrap around.
        right = right + (schedule[(group + 2) % 3] + np.full(1, group + 1, np.uint32))
    return left, right
