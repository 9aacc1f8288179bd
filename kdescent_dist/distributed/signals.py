"""Signals by which a scheduler or a user asks the process to stop."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """Remembers that a signal asked the process to stop; a second SIGINT stops at once."""

    # Schedulers send SIGTERM, SIGUSR1 or SIGUSR2 shortly before the time limit of a job.
    NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)

    def __init__(self) -> None:
        self.received: str | None = None

    def requested(self) -> bool:
        return self.received is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        # The handler only sets a flag: the signal can interrupt any line, even in a save.
        if number == signal.SIGINT and self.received == "SIGINT":
            os._exit(130)
        if number == signal.SIGINT:
            os.write(2, b"\nstopping after these steps; Ctrl-C again stops at once, unsaved\n")
        self.received = signal.Signals(number).name

    @contextmanager
    def installed(self) -> Iterator["StopSignals"]:
        """Handle the signals within the context; then restore the previous handlers."""
        before = [signal.getsignal(number) for number in self.NUMBERS]
        self.install()
        try:
            yield self
        finally:
            for number, handler in zip(self.NUMBERS, before, strict=True):
                signal.signal(number, handler)

    def install(self) -> None:
        """Handle the signals; called again after a library has installed its own handlers."""
        for number in self.NUMBERS:
            signal.signal(number, self.handle)
