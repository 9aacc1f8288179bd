"""When the steps of a fit end early: at a plateau, at a target, or after some time.

A plateau and a target are looked for at fixed steps, at which no dispatch goes past. So the step at
which a fit ends does not depend on the size of dispatches, nor on restarts.
"""

import time
from dataclasses import dataclass, field

import numpy as np

from kdescent_dist.config.schema import StopConfig
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.history import GrowingHistory

OF_TARGET = 10  # steps of which the mean loss is compared with the target
BY_TIME = "the time: "  # how the reason of a fit that ran out of time begins


@dataclass(frozen=True)
class Stops:
    """The stops of a fit.

    Attributes:
        config: the stops.
        processes: the processes of the fit. The clock of the primary counts.
        begun: time at which the steps of this start began, after their compilation.
    """

    config: StopConfig
    processes: Processes
    begun: float = field(default_factory=time.monotonic)

    def left(self, step: int) -> int | None:
        """Number of steps from a step to the next one at which to look; None for no limit."""
        every = [n for n in (self.config.plateau, self._of_target) if n is not None]
        return min((n - step % n for n in every), default=None)

    def reason(self, step: int, history: GrowingHistory) -> str:
        """Why the steps end after ``step`` steps; empty if they do not.

        Only the primary tells of the time: processes must exchange the reasons.
        """
        window, target, seconds = self.config.plateau, self.config.target, self.config.seconds
        if window is not None and step % window == 0 and step >= 2 * window:
            losses = history.part(step - 2 * window).loss[: 2 * window]
            before, now = np.mean(np.reshape(losses.astype(float), (2, window)), axis=1)
            if np.isfinite(before) and not now < before:
                return f"a plateau: mean loss {before:.6g} of {window} steps, then {now:.6g}"
        of_target = self._of_target
        if target is not None and of_target is not None and step and step % of_target == 0:
            losses = history.part(step - of_target).loss[:of_target].astype(float)
            if (now := np.mean(losses)) <= target:
                return f"the target: mean loss {now:.6g} of {of_target} steps"
        late = seconds is not None and time.monotonic() - self.begun > seconds
        if late and self.processes.is_primary:
            return f"{BY_TIME}fit.stop.seconds={seconds:g}"
        return ""

    @property
    def _of_target(self) -> int | None:
        return None if self.config.target is None else OF_TARGET
