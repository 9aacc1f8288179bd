"""The share of one of several processes in work that all do together, and what they tell others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kdescent_dist.config.errors import InputError

Exchange = Callable[[np.ndarray], np.ndarray]
Result = TypeVar("Result")

MESSAGE_BYTES = 4096


def alone(array: np.ndarray) -> np.ndarray:
    """The exchange of a single process: what it sends, of shape (1, ...)."""
    return array[None]


@dataclass(frozen=True)
class Share:
    """One of several processes.

    Attributes:
        process: its number, from 0.
        processes: how many there are.
        exchange: takes an array of bytes (n,), of the same length on every process, and returns
            those of all processes, (processes, n), in their order. All must call it together.
    """

    process: int = 0
    processes: int = 1
    exchange: Exchange = alone

    def of(self, items: int) -> tuple[int, int]:
        """First and last (excluded) of this process's share of ``items`` items in a row."""
        return (
            items * self.process // self.processes,
            items * (self.process + 1) // self.processes,
        )

    def gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, (processes, ...); they must agree in type and shape."""
        # As bytes: an exchange on devices may know of no 64-bit numbers.
        sent = np.ascontiguousarray(array)
        if not sent.size:
            return np.zeros((self.processes, *sent.shape), sent.dtype)
        received = np.asarray(self.exchange(sent.reshape(-1).view(np.uint8)), np.uint8)
        return np.ascontiguousarray(received).view(sent.dtype).reshape(self.processes, *sent.shape)

    def added(self, array: np.ndarray) -> np.ndarray:
        """The sum of the arrays of all processes, of one shape."""
        return self.gather(array).sum(axis=0)

    def largest(self, array: np.ndarray) -> np.ndarray:
        """The largest of the entries of all processes, of arrays of one shape."""
        return self.gather(array).max(axis=0)

    def attempt(self, work: Callable[[], Result]) -> Result:
        """Do something on every process, where all fail if one does.

        Raises:
            InputError: what ``work`` raised on the first process that failed.
            RuntimeError: it raised an exception of another kind, which that process raises.
        """
        error, result = None, None
        try:
            result = work()
        except Exception as caught:
            error = caught
        text = b""
        if error is not None:
            kind = "" if isinstance(error, InputError) else type(error).__name__
            text = f"{kind}\n{error}".encode()[:MESSAGE_BYTES]
        sent = np.zeros(MESSAGE_BYTES, np.uint8)
        sent[: len(text)] = np.frombuffer(text, np.uint8)
        for process, row in enumerate(self.gather(sent)):
            if not row.any():
                continue
            if process == self.process and error is not None:
                raise error
            kind, _, message = row.tobytes().rstrip(b"\0").decode(errors="replace").partition("\n")
            if kind:
                raise RuntimeError(f"process {process} failed: {kind}: {message}") from error
            raise InputError(message) from error
        return result  # type: ignore[return-value]
