"""Arrays as they are given: values that NumPy masks, and integers that a type does not have."""

from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError


def unmasked(values: Any) -> Any:
    """What was given, with NaN in place of each value that NumPy masks as missing.

    Args:
        values: anything; a ``numpy.ma.MaskedArray``, or a list of them, becomes a plain array.

    Returns:
        Masked numbers in floating point, anything else that is masked as objects with None.
    """
    if isinstance(values, list | tuple) and any(isinstance(v, np.ma.MaskedArray) for v in values):
        values = np.ma.array(values)
    if not isinstance(values, np.ma.MaskedArray):
        return values
    plain, mask = np.asarray(values), np.ma.getmaskarray(values)
    if mask.dtype != np.bool_ or not mask.any():
        return plain
    if plain.dtype.kind not in "biuf":
        objects = plain.astype(object)
        objects[mask] = None
        return objects
    return np.where(mask, np.nan, plain.astype(np.result_type(plain, np.float16)))


def check_integers(values: np.ndarray, dtype: Any, what: str, how: str) -> None:
    """Check that a floating-point type has all integers of an array; others pass.

    Args:
        values: of any type and shape.
        dtype: the type that they are to have.
        what: how to name the values in a message.
        how: what the user may do about it.

    Raises:
        InputError: an integer would become another number.
    """
    digits = np.finfo(dtype).nmant + 1
    if values.dtype.kind not in "iu" or np.iinfo(values.dtype).max <= 1 << digits:
        return
    large = values[(values > 1 << digits) | (values < -1 << digits)]
    widest = np.int64 if values.dtype.kind == "i" else np.uint64
    magnitude = np.abs(large.astype(widest)).astype(np.uint64)
    last_bit = magnitude & (~magnitude + np.uint64(1))
    bad = large[magnitude // last_bit >> np.uint64(digits) > 0]
    if len(bad):
        rounded = int(np.dtype(dtype).type(bad[0]))
        raise InputError(
            f"{what} holds the integer {bad[0]}, which {np.dtype(dtype)} rounds to {rounded}: {how}"
        )
