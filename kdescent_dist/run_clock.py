"""How long a run has taken over all its starts, and how much of that was useful."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any


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
        self._first = before.get("first_start", self._begun)
        self._starts = before.get("starts", 0) + 1
        self._earlier = before.get("wall_s", 0.0)
        if before.get("status") == "running":
            alive = [row["time"] for row in self._rows()][-1:] or [0.0]
            self._earlier += max(alive[0] - before["last_start"], 0.0)

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
            "useful_s": round(sum(row["seconds"] for row in self._rows()), 3),
        }

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        if self._metrics.exists():
            for line in self._metrics.read_text().splitlines():
                # A line that was being written when the run was killed is not whole.
                with contextlib.suppress(json.JSONDecodeError):
                    rows.append(json.loads(line))
        return rows
