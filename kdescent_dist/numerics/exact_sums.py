"""Sums over blocks of rows, with the same bits however processes share the blocks.

Every part is rounded to a multiple of one unit, about 2^-50 of the largest part. The multiples are
added as integers, so their order does not matter ("pre-rounding", Demmel & Nguyen 2013).
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

_ZERO, _ENDLESS = -(1 << 20), 1 << 20  # in place of the exponents of 0 and infinity
_MANTISSA = 52


class Reductions(Protocol):
    """Elementwise reductions over processes; all processes pass arrays of one shape."""

    def added(self, array: np.ndarray) -> np.ndarray: ...

    def largest(self, array: np.ndarray) -> np.ndarray: ...


def exact_total(
    parts: Sequence[np.ndarray], shape: tuple[int, ...], blocks: int, processes: Reductions
) -> np.ndarray:
    """Add one array per block, over the blocks of all processes.

    Args:
        parts: the arrays of the blocks of this process, each of ``shape``.
        shape: shape of a part.
        blocks: number of blocks of all processes.
        processes: the processes that hold the blocks; all of them must call this function.

    Returns:
        The sums in double precision, each within ``blocks`` units (see above); infinite where a
        part is not finite.
    """
    table = np.array(parts, float).reshape(len(parts), math.prod(shape))
    largest = np.max(np.abs(table), axis=0, initial=0.0)
    exponents = np.where(largest > 0, np.frexp(largest)[1], _ZERO)
    exponents = np.where(np.isfinite(largest), exponents, _ENDLESS).astype(np.int32)
    exponents = processes.largest(exponents)
    # The sum of ``blocks`` integers of this many digits fits into 63 bits.
    digits = min(_MANTISSA, 62 - blocks.bit_length())
    finite = exponents != _ENDLESS
    scale = np.where(finite & (exponents != _ZERO), digits - exponents, 0).astype(np.int32)
    units = np.zeros(table.shape[1], np.int64)
    for part in table:
        units += np.rint(np.ldexp(np.where(finite, part, 0.0), scale)).astype(np.int64)
    total = np.ldexp(processes.added(units).astype(float), -scale)
    return np.where(finite, total, np.inf).reshape(shape)
