"""When a periodic save is due by wall time: early at first, then by the cost of a save."""

import time
from collections.abc import Callable

FIRST = 2.0  # seconds from the first step to the first save
LEAST = 5.0  # seconds between saves
SHARE = 0.005  # largest fraction of the time of a fit for saves


class SaveInterval:
    """Decides when to save, so that a run makes progress even if it is killed often.

    The first save comes ``FIRST`` seconds after the first step begins. Later intervals keep the
    cost of saves below ``SHARE`` of the time. They are at least ``LEAST`` and at most ``most``
    seconds.

    Args:
        most: most seconds between saves, None for no saves by wall time.
        clock: returns a monotonic time in seconds.
    """

    def __init__(self, most: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._cost: float | None = None
        self.begin()

    def begin(self) -> None:
        """Start the interval, when the first step begins."""
        self._last = self._clock()

    def due(self) -> bool:
        """Whether it is time to save."""
        if self._most is None:
            return False
        wait = FIRST if self._cost is None else max(self._cost / SHARE, LEAST)
        return self._clock() - self._last >= min(wait, self._most)

    def saved(self, cost: float) -> None:
        """Start the interval to the next save.

        Args:
            cost: seconds by which this save has delayed the fit.
        """
        self._cost = cost
        self.begin()

    def told(self, cost: float) -> None:
        """Add the cost of work after a save, such as writing its record."""
        self._cost = (self._cost or 0.0) + cost
