"""How long a run has taken over all its starts, and how much of that was useful."""

import time
from pathlib import Path
from typing import Any

from kdescent_dist.fitting.callbacks import read_metrics
from kdescent_dist.run.result import was_running


class RunClock:
    """Adds up the times of a run that is started again and again.

    Args:
        before: what ``result.json`` says at this start, empty at the first one.
        metrics: the metrics of the steps, whose last line tells how long a start that was killed
            had lived.
    """

    def __init__(self, before: dict[str, Any], metrics: Path) -> None:
        self._metrics = metrics
        self._begun = time.time()
        # Numbers of a file that was altered count as not there.
        known = {name: n for name, n in before.items() if isinstance(n, int | float)}
        self._first = known.get("first_start", self._begun)
        self._starts = known.get("starts", 0) + 1
        self._earlier = known.get("wall_s", 0.0)
        if was_running(before):
            alive = [row["time"] for row in read_metrics(self._metrics)][-1:] or [0.0]
            self._earlier += max(alive[0] - known.get("last_start", alive[0]), 0.0)

    def times(self) -> dict[str, Any]:
        """For ``result.json``.

        Returns:
            ``starts``; ``first_start`` and ``last_start`` in seconds since 1970; ``wall_s``, the
            time that all starts ran; ``waited_s``, that between them; and ``useful_s``, the time
            of the steps that are part of the fit: the rest of ``wall_s`` went into starting,
            compiling, pretraining, saving, and steps that were lost and done again.
        """
        now = time.time()
        wall = self._earlier + now - self._begun
        return {
            "starts": self._starts,
            "first_start": self._first,
            "last_start": self._begun,
            "wall_s": round(wall, 3),
            "waited_s": round(max(now - self._first - wall, 0.0), 3),
            "useful_s": round(sum(row["seconds"] for row in read_metrics(self._metrics)), 3),
        }
