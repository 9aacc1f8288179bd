"""Signals by which a scheduler or a user asks the process to stop."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """Remembers that a signal asked the process to stop; a second SIGINT stops at once."""

    # Launchers tell by any of the first three that the time of a job is nearly over.
    NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)

    def __init__(self) -> None:
        self.received: str | None = None

    def requested(self) -> bool:
        return self.received is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        # Nothing but a flag may be set here: the signal can interrupt any line, also a save.
        if number == signal.SIGINT and self.received == "SIGINT":
            os._exit(130)
        if number == signal.SIGINT:
            os.write(2, b"\nstopping after these steps; Ctrl-C again stops at once, unsaved\n")
        self.received = signal.Signals(number).name

    @contextmanager
    def installed(self) -> Iterator["StopSignals"]:
        """Handle the signals within the context, and restore what was there before after it."""
        before = [signal.getsignal(number) for number in self.NUMBERS]
        self.install()
        try:
            yield self
        finally:
            for number, handler in zip(self.NUMBERS, before, strict=True):
                signal.signal(number, handler)

    def install(self) -> None:
        """Handle the signals, again after a library has put handlers of its own in place."""
        for number in self.NUMBERS:
            signal.signal(number, self.handle)
