"""Checks of input arrays: values masked by NumPy, and integers that floats cannot represent."""

from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError


def unmasked(values: Any) -> Any:
    """Replace masked numbers by NaN, and other masked values by None.

    Args:
        values: any object. A ``numpy.ma.MaskedArray``, or a list of them, becomes a plain array.

    Returns:
        A floating-point array for numbers with masked entries, an object array for other values
        with masked entries; otherwise the values as given.
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
    """Check that a floating-point type represents all integers of an array.

    Args:
        values: array of any type and shape; arrays that hold no integers pass.
        dtype: floating-point type.
        what: name of the values, for the error message.
        how: advice to the user, for the error message.

    Raises:
        InputError: the type would round an integer to another number.
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
