"""Work on one range of rows after another, by threads: NumPy computes without Python's lock."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
Place = TypeVar("Place")

MOST_THREADS = 4  # more only wait for the memory


def work_through(
    items: Iterable[Item],
    work: Callable[[Item, Callable[[Callable[[], Place]], Place]], None],
) -> None:
    """Work on items by threads, each of which takes its place in the order of the items.

    Args:
        items: taken one by one in the calling thread, a few ahead of the work.
        work: done on several items at a time. It gets an item and a function, to be called once,
            which calls a function in its turn: after those of the items before, one at a time.

    Raises:
        Exception: what any of them raised, for the first item with which it did.
    """
    count = min(_processors(), MOST_THREADS)
    pending: deque[Future[None]] = deque()
    before = threading.Event()
    before.set()

    def carry_out(item: Item, before: threading.Event, placed: threading.Event) -> None:
        def in_turn(take_place: Callable[[], Place]) -> Place:
            before.wait()  # it began earlier, so that it never waits for this one
            try:
                return take_place()
            finally:
                placed.set()

        try:
            work(item, in_turn)
        finally:
            placed.set()

    with ThreadPoolExecutor(count, thread_name_prefix="rows") as pool:
        try:
            for item in items:
                placed = threading.Event()
                pending.append(pool.submit(carry_out, item, before, placed))
                before = placed
                if len(pending) > 2 * count:
                    pending.popleft().result()
            while pending:
                pending.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Scratch:
    """Arrays that are used again, those of each thread; memory that is new takes long to get."""

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


def _processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
