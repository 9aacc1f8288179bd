"""The points of a statistic, and the counts that a config may give at the points."""

from dataclasses import dataclass
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Points:
    """Where a statistic is evaluated: k points in a space of d compared columns.

    Attributes:
        each: names to arrays (k, ...), with one row per point.
        common: names to arrays that all points share.
    """

    each: dict[str, Any]
    common: dict[str, Any]

    @property
    def number(self) -> int:
        """The number of points k."""
        return len(next(iter(self.each.values())))

    def at(self, rows: Any) -> "Points":
        """The points of the given indices."""
        return Points({name: values[rows] for name, values in self.each.items()}, self.common)


@dataclass(frozen=True)
class Given:
    """The data of a statistic in a bin, from the options of a config.

    Attributes:
        points: the k points; every step takes all points in this order. None if
            ``Statistic.place`` places points in the training sample of each bin.
        values: (k, parts) counts to compare with; None to count the training catalog.
        errors: (k, parts) errors of ``values``, 0 for an unknown count; ``loss.kind=chisq`` needs
            errors.
        weight: sum of the weights in the bin, in the units of ``values``; None if unknown.
        weight_err: error of ``weight``.
        number: number of points to place; None if ``place`` chooses the number.
    """

    points: Points | None = None
    values: Any = None
    errors: Any = None
    weight: float | None = None
    weight_err: float = 0.0
    number: int | None = None
