"""The wall time of a run over all its starts, and the useful part of this time."""

import time
from pathlib import Path
from typing import Any

from kdescent_dist.fitting.callbacks import read_metrics
from kdescent_dist.run.result import was_running


class RunClock:
    """Adds the times of all starts of a run.

    Args:
        before: contents of ``result.json`` at this start, empty at the first start.
        metrics: file with the metrics of the steps; its last line dates the end of a killed start.
    """

    def __init__(self, before: dict[str, Any], metrics: Path) -> None:
        self._metrics = metrics
        self._begun = time.time()
        # Values of an altered file that are not numbers are ignored.
        known = {name: n for name, n in before.items() if isinstance(n, int | float)}
        self._first = known.get("first_start", self._begun)
        self._starts = known.get("starts", 0) + 1
        self._earlier = known.get("wall_s", 0.0)
        if was_running(before):
            alive = [row["time"] for row in read_metrics(self._metrics)][-1:] or [0.0]
            self._earlier += max(alive[0] - known.get("last_start", alive[0]), 0.0)

    def times(self) -> dict[str, Any]:
        """The times of the run, for ``result.json``.

        Returns:
            ``starts``; ``first_start`` and ``last_start`` in seconds since 1970; ``wall_s``, the
            total time of all starts; ``waited_s``, the time between starts; and ``useful_s``, the
            time of the steps of the fit. The rest of ``wall_s`` is the time of starting, compiling,
            pretraining, saving and repeating lost steps.
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
