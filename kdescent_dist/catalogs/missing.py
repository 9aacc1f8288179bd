"""Values that stand for "missing" in the columns of a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError


def sentinels(given: Mapping[str, Any], key: str) -> list[tuple[str, float]]:
    """Pairs of a column and a value that stands for "missing".

    Args:
        given: names of columns to a value or a list of values.
        key: prefix of the config key, for messages.

    Raises:
        InputError: a value is not a number.
    """
    return [
        (name, value)
        for name, values in given.items()
        for value in _numbers(values, f"{key}.sentinel.{name}")
    ]


def missing(values: np.ndarray, sentinel: float, entries: Sequence[int | None]) -> np.ndarray:
    """(n,) True where a column has the sentinel value.

    Args:
        values: (n,) numbers or (n, m) vectors, in the type of the file.
        sentinel: the value; NaN matches NaN.
        entries: the entries of a vector to compare.
    """
    if values.ndim == 2:
        size = values.shape[1]  # entries out of range raise when the expression is evaluated
        values = values[:, [e for e in entries if e is not None and -size <= e < size]]
    if np.isnan(sentinel):
        equal = np.isnan(values)
    elif values.dtype.kind == "f":
        # Compared in the type of the file: in single precision, -99.9 is another number.
        with np.errstate(over="ignore"):
            equal = values == np.asarray(sentinel).astype(values.dtype)
    else:
        equal = values == (int(sentinel) if float(sentinel).is_integer() else sentinel)
    return np.any(equal, axis=1) if values.ndim == 2 else np.asarray(equal)


def _numbers(given: Any, option: str) -> list[float]:
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    values = []
    for value in several:
        try:
            # Integers stay integers: identifiers may have more digits than double precision.
            values.append(value if type(value) is int else float(value))
        except (TypeError, ValueError):
            raise InputError(f"{option}={given}: must be a number, or a list of numbers") from None
    return values
