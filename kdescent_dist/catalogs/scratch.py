"""Reusable memory, and functions that copy rows of columns to it or to output arrays."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Scratch:
    """Reusable arrays, separate for each thread. Allocating new memory each time is slow."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, slot: str, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Copy rows of (n,) or (n, m) values, valid until the next call with this slot."""
        return gather(values, rows, self._array(slot, values.shape, values.dtype)[: len(rows)])

    def converted(self, slot: str, values: np.ndarray, dtype: Any) -> np.ndarray:
        """Convert values to another type, valid until the next call with this slot."""
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
    """Copy rows of values to an array of the same type."""
    # No row number is out of range; mode "raise" would add a buffer, and mode "clip" is slower.
    return values.take(rows, axis=0, out=into, mode="wrap")


def taken(
    columns: Mapping[str, np.ndarray],
    rows: np.ndarray,
    into: Mapping[str, np.ndarray],
    scratch: Scratch,
    suffix: str,
) -> dict[str, np.ndarray]:
    """Copy rows of columns to output arrays of the same type, else to the scratch memory.

    Args:
        columns: names to (n,) values or (n, m) vectors.
        rows: (k,) numbers of the rows.
        into: names of some columns to (k,) output arrays.
        scratch: memory for the other columns.
        suffix: distinguishes the columns in the scratch memory from others of the same names.
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
    """Copy (n,) arrays to output arrays, unless they are the same; None for no output arrays."""
    with np.errstate(over="ignore"):
        for place, values in zip(places or (), arrays, strict=places is not None):
            if place is not values:
                place[...] = values


def in_memory_order(values: np.ndarray) -> np.ndarray:
    """A contiguous column in native byte order; vectors stay as they are: few entries are used."""
    if values.ndim > 1:
        return values
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
