"""Learning-rate schedules; a new schedule is one class and one line in ``SCHEDULES``.

Other packages add a schedule by the entry point ``kdescent_dist.schedules``.
"""

from collections.abc import Callable
from typing import Protocol

import optax

from kdescent_dist.config.registry import Registry


class Schedule(Protocol):
    """The learning rate after the warm-up.

    Attributes:
        name: the value of ``optimizer.schedule``.
    """

    name: str

    @property
    def make(self) -> Callable[..., optax.Schedule]:
        """``make(peak, final_fraction, steps, **options)`` returns the learning rate by step.

        ``peak`` is the learning rate at step 0. ``final_fraction`` is the learning rate after
        ``steps`` steps, relative to the peak. ``options`` are ``optimizer.schedule_options``.
        """
        ...


class Constant:
    name = "constant"

    def make(self, peak: float, final_fraction: float, steps: int) -> optax.Schedule:
        return optax.constant_schedule(peak)


class Cosine:
    name = "cosine"

    def make(
        self, peak: float, final_fraction: float, steps: int, exponent: float = 1.0
    ) -> optax.Schedule:
        return optax.cosine_decay_schedule(peak, steps, final_fraction, exponent)


class Exponential:
    name = "exponential"

    def make(self, peak: float, final_fraction: float, steps: int) -> optax.Schedule:
        return optax.exponential_decay(peak, steps, final_fraction, end_value=peak * final_fraction)


SCHEDULES: Registry[Schedule] = Registry(
    "kdescent_dist.schedules", (Constant(), Cosine(), Exponential())
)
