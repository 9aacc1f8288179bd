"""When a periodic save is due by wall time: early at first, then by what a save costs."""

import time
from collections.abc import Callable

FIRST = 2.0  # seconds from the first step to the first save
LEAST = 5.0  # seconds between saves
SHARE = 0.005  # of the time of a fit that may be spent on saves


class SaveInterval:
    """Tells when to save, so that a run gets on that is killed again and again.

    The first save comes ``FIRST`` seconds after the first step begins. From then on, saves are as
    far apart as keeps their cost below ``SHARE`` of the time, at least ``LEAST`` and never more
    than ``most`` seconds.

    Args:
        most: seconds between saves at most; None: no save by wall time.
        clock: the time in seconds, which only goes forward.
    """

    def __init__(self, most: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._cost: float | None = None
        self.begin()

    def begin(self) -> None:
        """Begin to wait, as the first step begins."""
        self._last = self._clock()

    def due(self) -> bool:
        """Whether it is time to save."""
        if self._most is None:
            return False
        wait = FIRST if self._cost is None else max(self._cost / SHARE, LEAST)
        return self._clock() - self._last >= min(wait, self._most)

    def saved(self, cost: float) -> None:
        """Begin to wait for the next save.

        Args:
            cost: seconds for which this save has kept the fit waiting.
        """
        self._cost = cost
        self.begin()

    def told(self, cost: float) -> None:
        """Count what came after a save, such as the record of it."""
        self._cost = (self._cost or 0.0) + cost
