"""Threads that stand for the processes of a run, of which one runs at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.distributed.processes import Processes


class _Table:
    """Collects an array of each thread."""

    def __init__(self, threads: int) -> None:
        self.running = threading.Lock()
        self.rows: list[Any] = [None] * threads
        self.barrier = threading.Barrier(threads, timeout=60)

    def wait(self) -> None:
        self.running.release()
        try:
            self.barrier.wait()
        finally:
            self.running.acquire()

    def collect(self, index: int, row: np.ndarray) -> np.ndarray:
        self.rows[index] = row
        self.wait()
        table = np.stack(self.rows)
        self.wait()
        return table


@dataclass(frozen=True)
class ThreadProcesses(Processes):
    """What a process has; only the collectives of its devices are replaced."""

    number: int = 1
    own: int = 0
    table: Any = None

    @property
    def count(self):
        return self.number

    @property
    def index(self):
        return self.own

    def _collective(self, data, reduction):
        assert data.dtype.itemsize <= 4, "JAX would round it"
        return np.asarray(reduction(self.table.collect(self.own, data)))


def in_threads(number, work):
    """What ``work(processes)`` returns in each of several threads; raises what it raises."""
    table = _Table(number)

    def one(index):
        with table.running:
            try:
                return work(ThreadProcesses((), number, index, table))
            except BaseException:
                table.barrier.abort()
                raise

    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(one, i) for i in range(number)]]
