"""Values that stand for "missing" in the columns of a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError


def sentinels(given: Mapping[str, Any], key: str) -> list[tuple[str, float]]:
    """Columns with a value that stands for "missing"; a column with several is there as often.

    Args:
        given: by the names of columns, a value or a list of values.
        key: prefix of the config key, for messages.

    Raises:
        InputError: a value is no number.
    """
    return [
        (name, value)
        for name, values in given.items()
        for value in _numbers(values, f"{key}.sentinel.{name}")
    ]


def missing(values: np.ndarray, sentinel: float, entries: Sequence[int | None]) -> np.ndarray:
    """(n,) True where a column has the sentinel value.

    Args:
        values: (n,) numbers or (n, m) vectors, as they are in the file.
        sentinel: the value; NaN for what is not a number.
        entries: of a vector, those that are compared.
    """
    if values.ndim == 2:
        size = values.shape[1]  # an entry beyond it is refused where it is evaluated
        values = values[:, [e for e in entries if e is not None and -size <= e < size]]
    if np.isnan(sentinel):
        equal = np.isnan(values)
    elif values.dtype.kind == "f":
        # Compared as it was written: -99.9 is another number in single precision.
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
            # Integers as they are: identifiers may have more digits than double precision.
            values.append(value if type(value) is int else float(value))
        except (TypeError, ValueError):
            raise InputError(f"{option}={given}: must be a number, or a list of numbers") from None
    return values
