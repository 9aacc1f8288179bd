"""Exchanges of small amounts of data between the processes of a fit, between steps.

All processes of a group must call the methods of ``Processes`` in the same order. For a single
process, the methods return at once.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.progress import OF_THIS_PROCESS, Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes that share a mesh.

    Attributes:
        devices: one JAX device per process, in the order of the processes.
        progress: counts the exchanges that this process begins.
    """

    devices: tuple[Any, ...]
    progress: Progress = field(default=OF_THIS_PROCESS, kw_only=True, compare=False, repr=False)

    @classmethod
    def of(cls, mesh: Mesh | None) -> "Processes":
        """The processes of a mesh; without a mesh, this process alone."""
        if mesh is None:
            return cls(())
        return cls.with_devices(list(mesh.devices.flat))

    @classmethod
    def with_devices(cls, devices: Sequence[Any]) -> "Processes":
        first: dict[int, Any] = {}
        for device in sorted(devices, key=lambda d: (d.process_index, d.id)):
            first.setdefault(device.process_index, device)
        return cls(tuple(first.values()))

    @property
    def count(self) -> int:
        return max(len(self.devices), 1)

    @property
    def index(self) -> int:
        """The position of this process in the group."""
        if self.count == 1:
            return 0
        return [d.process_index for d in self.devices].index(jax.process_index())

    @property
    def is_primary(self) -> bool:
        """Whether this process writes files and prints."""
        return self.index == 0

    def share(self, items: int) -> tuple[int, int]:
        """First and last (excluded) index of this process's share of ``items`` items.

        The sizes of two shares differ by at most one item.
        """
        return items * self.index // self.count, items * (self.index + 1) // self.count

    @cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices, dtype=object), ("processes",))

    def exchange(self, array: Any) -> np.ndarray:
        """Stack the arrays of all processes, of equal shape and type, to (processes, ...)."""
        array = np.asarray(array)
        if self.count == 1:
            return array[None]
        if not array.size:
            return np.zeros((self.count, *array.shape), array.dtype)
        # As bytes: JAX would round 64-bit numbers.
        data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        found = self._reduced(data, _same)
        return np.ascontiguousarray(found).view(array.dtype).reshape(-1, *array.shape)

    def added(self, array: np.ndarray) -> np.ndarray:
        """The exact sum of the int64 arrays of all processes, of equal shape."""
        if self.count == 1:
            return array
        # In digits of 16 bits: without x64, JAX has 32-bit integers at most, and the sums fit.
        digits = np.ascontiguousarray(array, np.int64).reshape(-1).view(np.uint16)
        sums = self._reduced(_filled_up(digits.astype(np.uint32)), _added)[: len(digits)]
        sums = sums.astype(np.int64).reshape(-1, 4) << np.arange(0, 64, 16)
        return sums.sum(axis=1).reshape(array.shape)

    def merged(self, array: np.ndarray) -> np.ndarray:
        """Merge arrays (n, ...), of which each process has some rows, and zeros elsewhere."""
        if self.count == 1:
            return array
        data = np.ascontiguousarray(array).tobytes()
        words = np.frombuffer(data + bytes(-len(data) % 8), np.int64)
        merged = self.added(words).tobytes()[: len(data)]
        return np.frombuffer(merged, array.dtype).reshape(array.shape)

    def largest(self, array: np.ndarray) -> np.ndarray:
        """The elementwise maximum of the int32 arrays (n,) of all processes."""
        if self.count == 1:
            return array
        return self._reduced(_filled_up(array.astype(np.int32)), _maximum)[: len(array)]

    def _reduced(self, data: np.ndarray, reduction: Callable) -> np.ndarray:
        """Reduce the table (processes, n) of the integers (n,) of all processes."""
        self.progress.moved()
        return self._collective(data, reduction)

    def _collective(self, data: np.ndarray, reduction: Callable) -> np.ndarray:
        dealt = NamedSharding(self._mesh, PartitionSpec("processes"))
        mine = jax.device_put(data[None], self.devices[self.index])
        table = jax.make_array_from_single_device_arrays((self.count, len(data)), dealt, [mine])
        everywhere = NamedSharding(self._mesh, PartitionSpec())
        return np.asarray(jax.jit(reduction, out_shardings=everywhere)(table))

    def gather(self, value: T) -> list[T]:
        """The values of all processes; values can be pickled."""
        if self.count == 1:
            return [value]
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = self.exchange(np.int64(len(data)))
        rows = zip(self.exchange(_filled_up(data, int(sizes.max()))), sizes, strict=True)
        return [pickle.loads(row[:size].tobytes()) for row, size in rows]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.exchange(np.uint8(flag)).any())

    def barrier(self) -> None:
        """Wait until all processes have called this method."""
        self.any(False)

    def on_primary(self, function: Callable[[], T]) -> T:
        """Call a function in the primary; all processes return its result or raise its error."""
        if self.count == 1:
            return function()
        value, error = _attempt(function) if self.is_primary else (None, None)
        value, error = self._from_primary((value, error and _as_sent(error)))
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def together(self, function: Callable[[], T]) -> T:
        """Call a function in every process; if the function fails anywhere, all processes raise.

        All processes raise the error of the first process that failed, as follows.

        Raises:
            InputError: this type of error. If other processes succeeded, the message names the
                first process that failed.
            RuntimeError: another type of error, if some processes succeeded; the message names the
                first process that failed. That process raises its error itself.
            Exception: any other error, if all processes failed.
        """
        if self.count == 1:
            return function()
        value, mine = _attempt(function)
        errors = self.gather(mine and _as_sent(mine))
        failed = [process for process, error in enumerate(errors) if error is not None]
        if not failed:
            return value  # type: ignore[return-value]
        error, who = errors[failed[0]], f"process {failed[0]} of {self.count}"
        in_all = len(failed) == self.count
        if isinstance(error, InputError) and not in_all:
            raise InputError(f"{who}: {error}") from mine
        if mine is not None and failed[0] == self.index:
            raise mine
        if error is not None and in_all:
            raise error from mine
        raise RuntimeError(f"{who} failed: {type(error).__name__}: {error}") from mine

    def _from_primary(self, value: Any) -> Any:
        """Broadcast the value of the primary, which may be large."""
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        size = int(self.exchange(np.int64(len(data)))[0])
        sent = _filled_up(data if self.is_primary else data[:0], size)
        return pickle.loads(self._reduced(sent, _added)[:size].tobytes())


def _filled_up(data: np.ndarray, size: int | None = None) -> np.ndarray:
    """Pad (n,) data with zeros to a power of two: JAX compiles a program for every size."""
    filled = 1 << int(len(data) if size is None else size).bit_length()
    return np.pad(data, (0, filled - len(data)))


def _same(table: jax.Array) -> jax.Array:
    return table


def _added(table: jax.Array) -> jax.Array:
    return jnp.sum(table, axis=0, dtype=table.dtype)


def _maximum(table: jax.Array) -> jax.Array:
    return jnp.max(table, axis=0)


def _attempt(function: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return function(), None
    except Exception as error:
        return None, error


def _as_sent(error: Exception) -> Exception:
    """The error, or a RuntimeError with its message if the error cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
