"""The points of a statistic, and what a config knows there."""

from dataclasses import dataclass
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Points:
    """Where a statistic is evaluated: k points in a space of d compared columns.

    Attributes:
        each: arrays (k, ...) by name, with one row per point.
        common: arrays by name that all points share.
    """

    each: dict[str, Any]
    common: dict[str, Any]

    @property
    def number(self) -> int:
        """k."""
        return len(next(iter(self.each.values())))

    def at(self, rows: Any) -> "Points":
        """Some of the points, by their numbers."""
        return Points({name: values[rows] for name, values in self.each.items()}, self.common)


@dataclass(frozen=True)
class Given:
    """What the options of a config give a statistic of a bin.

    Attributes:
        points: the k points, all of which every step takes, in their order. None for points that
            ``Statistic.place`` places in the training sample of each bin.
        values: (k, parts) counts to compare with; None to count the training catalog.
        errors: (k, parts) their errors, 0 where a count is unknown. For ``loss.kind=chisq``.
        weight: sum of the weights in the bin that goes with ``values``, None where it is unknown.
        weight_err: its error.
        number: how many points are to be placed, None where ``place`` knows it.
    """

    points: Points | None = None
    values: Any = None
    errors: Any = None
    weight: float | None = None
    weight_err: float = 0.0
    number: int | None = None
