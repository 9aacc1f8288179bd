"""Callbacks between the dispatches of a fit: progress, metrics, and stopping rules.

A callback is called with an ``Event`` after each dispatch, and stops the fit by raising
``StopFit``. Callbacks never change the state.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kdescent_dist.fitting.history import History


@dataclass(frozen=True)
class Event:
    """The progress of a fit after a dispatch.

    Attributes:
        step: number of updates done.
        steps: number of updates of the whole fit.
        first: step of the first row of ``history``.
        history: the steps of this dispatch.
        seconds: wall time of this dispatch.
        samples: number of model samples per step, 0 if unknown.
    """

    step: int
    steps: int
    first: int
    history: History
    seconds: float
    samples: int

    @property
    def samples_per_second(self) -> float:
        return self.samples * len(self.history) / self.seconds if self.seconds > 0 else math.nan


Callback = Callable[[Event], None]


class StopFit(Exception):
    """Raised by a callback to end the fit; its state is saved, and it counts as done."""


class ProgressBar:
    """A bar with the loss, steps per second and time left.

    Args:
        steps: number of steps of the whole fit.
        done: number of steps done before.
        show: whether to show the bar, None for only on a terminal.
    """

    def __init__(self, steps: int, done: int = 0, show: bool | None = None) -> None:
        disable = None if show is None else not show
        self._bar = tqdm(
            total=steps, initial=done, desc="fit", unit="step", disable=disable, dynamic_ncols=True
        )

    def __call__(self, event: Event) -> None:
        if len(event.history):
            self._bar.set_postfix(loss=f"{event.history.loss[-1]:.4g}", refresh=False)
        self._bar.update(event.step - self._bar.n)

    def close(self) -> None:
        self._bar.close()


_KEPT = ("step", "seconds", "time")  # entries that a valid row of the metrics must have
_NUMBER = int | float


class Metrics:
    """Appends a line per step to ``metrics.jsonl``.

    After a restart, lines of steps that are repeated are removed first.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next: int | None = None

    def __call__(self, event: Event) -> None:
        if self._next != event.first:
            self._cut(event.first)
        self._next = event.first + len(event.history)
        rate = round(event.samples_per_second, 1)
        seconds = round(event.seconds / max(len(event.history), 1), 6)
        rows = zip(event.history.loss.tolist(), event.history.grad_norm.tolist(), strict=True)
        lines = []
        for i, (loss, grad_norm) in enumerate(rows):
            row = {
                "step": event.first + i,
                "loss": loss,
                "grad_norm": grad_norm,
                "samples_per_second": rate,
                "seconds": seconds,
                "time": round(time.time(), 3),
            }
            lines.append(json.dumps(row) + "\n")
        try:
            with self.path.open("a") as file:
                file.writelines(lines)
        except OSError as error:  # the error of a full disk names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _cut(self, step: int) -> None:
        if not self.path.exists():
            return
        kept = [row for row in read_metrics(self.path) if row["step"] < step]
        # Written to a new file: if the run is killed here, the old or the new file is intact.
        temporary = self.path.with_name(f".{self.path.name}")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        os.replace(temporary, self.path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; empty if there is no file.

    Incomplete rows are left out, such as a row that was being written when the run was killed.
    """
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):  # not JSON, or not text
                row = json.loads(line)
                if isinstance(row, dict) and all(isinstance(row.get(k), _NUMBER) for k in _KEPT):
                    rows.append(row)
    return rows


class StopWhenFlat:
    """Stop when the mean loss of ``window`` steps is not below the mean of the window before.

    Args:
        window: number of steps in a window.
        tolerance: relative decrease that still counts as progress.
    """

    def __init__(self, window: int, tolerance: float = 0.0) -> None:
        self.window = window
        self.tolerance = tolerance
        self._losses: list[float] = []

    def __call__(self, event: Event) -> None:
        self._losses = [*self._losses, *event.history.loss.tolist()][-2 * self.window :]
        if len(self._losses) < 2 * self.window:
            return
        before, now = np.mean(np.reshape(self._losses, (2, self.window)), axis=1)
        if not now < before * (1 - self.tolerance):
            raise StopFit(f"the loss is flat: {before:.4g}, then {now:.4g}")
