"""Processes ranges of rows in threads, which helps because NumPy releases the GIL."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Place = TypeVar("Place")

MOST_THREADS = 4  # more threads are limited by memory bandwidth


def work_through(
    items: Iterable[Item],
    work: Callable[[Item, Callable[[Callable[[], Place]], Place]], None],
) -> None:
    """Work on items in several threads, with one step per item in the order of the items.

    Args:
        items: the items, none of which is None. The calling thread works on items, too.
        work: ``work(item, in_turn)`` runs in several threads at a time. It calls ``in_turn(f)``
            once; ``f`` then runs when all earlier items have had their turn.

    Raises:
        Exception: the error of the first item that failed.
    """
    rest, taking, count = iter(items), threading.Lock(), 0
    last = threading.Event()  # set when the last taken item has had its turn
    last.set()
    failed: dict[int, BaseException] = {}

    def carry_out() -> None:
        nonlocal count, last
        number, placed = 0, threading.Event()

        def in_turn(take_place: Callable[[], Place]) -> Place:
            before.wait()  # no deadlock: the earlier item never waits for this item
            try:
                return take_place()
            finally:
                placed.set()

        try:
            while True:
                with taking:
                    number, placed = count, threading.Event()
                    before, last, count = last, placed, count + 1
                    if failed or (item := next(rest, None)) is None:
                        return
                work(item, in_turn)
                placed.set()
        except BaseException as error:
            failed[number] = error
        finally:
            placed.set()

    others = max(2, min(_processors(), MOST_THREADS)) - 1
    threads = [threading.Thread(target=carry_out, name="rows") for _ in range(others)]
    for thread in threads:
        thread.start()
    carry_out()
    try:
        for thread in threads:
            thread.join()
    except BaseException as error:  # Ctrl-C: no thread takes a further item
        failed[-1] = error
        raise
    if failed:
        raise failed[min(failed)]


def _processors() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
