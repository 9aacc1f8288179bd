"""When a periodic save is due by wall time: early at first, then by what a save costs."""

import time
from collections.abc import Callable

FIRST = 2.0  # seconds from the first step to the first save
LEAST = 5.0  # seconds between saves
SHARE = 0.005  # of the time of a fit that may be spent on saves


class SaveInterval:
    """Tells when to save, so that a run gets on that is killed again and again.

    The first save comes ``FIRST`` seconds after the first step. From then on, saves are as far
    apart as keeps their cost below ``SHARE`` of the time, at least ``LEAST`` and never more than
    ``most`` seconds.

    Args:
        most: seconds between saves at most; None: no save by wall time.
        clock: the time in seconds, which only goes forward.
    """

    def __init__(self, most: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._last: float | None = None
        self._wait = FIRST if most is None else min(FIRST, most)

    def due(self) -> bool:
        """Whether it is time to save; asked after each dispatch of steps."""
        if self._last is None:
            self._last = self._clock()
        return self._most is not None and self._clock() - self._last >= self._wait

    def saved(self, cost: float) -> None:
        """Begin to wait for the next save.

        Args:
            cost: seconds for which the last save kept the fit waiting.
        """
        self._last = self._clock()
        if self._most is not None:
            self._wait = min(max(cost / SHARE, LEAST), self._most)
