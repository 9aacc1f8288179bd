"""Memory that is used again, and rows of columns that are taken into it or into their places."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Scratch:
    """Arrays that are used again; each thread has its own. New memory takes long to get."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, slot: str, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Rows of (n,) or (n, m) values by numbers, until the next call with this slot."""
        return gather(values, rows, self._array(slot, values.shape, values.dtype)[: len(rows)])

    def converted(self, slot: str, values: np.ndarray, dtype: Any) -> np.ndarray:
        """Values in another type, until the next call with this slot."""
        array = self._array(f"{slot} (converted)", values.shape, np.dtype(dtype))
        np.copyto(array, values, casting="unsafe")
        return array

    def _array(self, slot: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        arrays: dict[str, np.ndarray] = self._of_thread.__dict__
        key = f"{slot} {dtype.str} {shape[1:]}"
        if key not in arrays or len(arrays[key]) < shape[0]:
            arrays[key] = np.empty(shape, dtype)
        return arrays[key][: shape[0]]


def gather(values: np.ndarray, rows: np.ndarray, into: np.ndarray) -> np.ndarray:
    """Rows of values by numbers, in an array of the same type."""
    # All of the rows are there; "raise" would take them into a buffer first, "clip" is slower.
    return values.take(rows, axis=0, out=into, mode="wrap")


def taken(
    columns: Mapping[str, np.ndarray],
    rows: np.ndarray,
    into: Mapping[str, np.ndarray],
    scratch: Scratch,
    suffix: str,
) -> dict[str, np.ndarray]:
    """Some rows of columns, in their places if they have the same type, else in the scratch.

    Args:
        columns: by name, (n,) values or (n, m) vectors.
        rows: (k,) numbers of the rows.
        into: (k,) places of some of the columns, by name.
        scratch: memory for the others.
        suffix: tells these columns in the scratch apart from others of the same names.
    """
    found = {}
    for name, values in columns.items():
        place = into.get(name)
        if place is None or values.ndim > 1 or place.dtype != values.dtype:
            found[name] = scratch.take(f"{name}{suffix}", values, rows)
        else:
            found[name] = gather(values, rows, place)
    return found


def write(arrays: Sequence[np.ndarray], places: Sequence[np.ndarray] | None) -> None:
    """Write (n,) arrays in their places, but for those that are there; None for no places."""
    with np.errstate(over="ignore"):
        for place, values in zip(places or (), arrays, strict=places is not None):
            if place is not values:
                place[...] = values


def in_memory_order(values: np.ndarray) -> np.ndarray:
    """A column as one piece in native byte order; vectors stay as they are, for few are used."""
    if values.ndim > 1:
        return values
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
