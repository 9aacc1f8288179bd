"""Sums over whole populations with several keys, at the points of a loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.objective.sums_at_points import SumsAtPoints
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.points import indices_of_stacks


@dataclass(frozen=True)
class PopulationTotals:
    """Sums over one population, or their mean over several populations, in double precision.

    Attributes:
        weight: the sum of all weights.
        compared: the sums of each bin at the points of ``FixedLoss.compared``.
        of_custom: the sums of each bin at the points of ``FixedLoss.of_custom``.
        extra_sums: the sums of ``loss.extra_sums``; empty without.
    """

    weight: float
    compared: list[BinSums]
    of_custom: list[BinSums]
    extra_sums: Any


class WholePopulations:
    """The sums over populations at the points of a loss.

    The sums at the last parameters are kept: steps, distance and errors ask for them again.
    """

    def __init__(self, loss: FixedLoss) -> None:
        self.loss = loss
        self._numbers = [
            {name: len(rows) for name, rows in one.indices.items()} for one in loss.compared
        ]
        sets = [loss.compared, loss.of_custom] if loss.of_custom else [loss.compared]
        rows = indices_of_stacks(loss.objective.stacks, *sets)
        self._sums = SumsAtPoints(loss.objective, rows)
        self._known: tuple[bytes, dict[bytes, PopulationTotals]] = b"", {}

    def totals(self, params: np.ndarray, key_data: np.ndarray) -> PopulationTotals:
        """The sums over the population of a key at ``params``; see ``population_keys``."""
        at, key = params.tobytes(), np.asarray(key_data).tobytes()
        if self._known[0] != at:
            self._known = at, {}
        known = self._known[1]
        if key not in known:
            known[key] = self._totals(params, key_data)
        return known[key]

    def _totals(self, params: np.ndarray, key_data: np.ndarray) -> PopulationTotals:
        found = jax.tree.map(lambda a: np.asarray(a, float), self._sums.totals(params, key_data))
        bins = [
            jax.tree.map(lambda a, i=i: a[i], of_stack)
            for stack, of_stack in zip(self.loss.objective.stacks, found["stacks"], strict=True)
            for i in range(len(stack.bins))
        ]
        cut = list(zip(bins, self._numbers, strict=True))
        further = [_part(one, numbers, first=False) for one, numbers in cut]
        return PopulationTotals(
            float(found["weight"]),
            [_part(one, numbers, first=True) for one, numbers in cut],
            further if self.loss.of_custom else [],
            found["extra_sums"],
        )

    def gradient(
        self, params: np.ndarray, key_data: np.ndarray, cotangent: PopulationTotals
    ) -> np.ndarray:
        """The gradient (P,) of a linear function of the totals of a key.

        Args:
            params: (P,) parameters.
            key_data: data of the key of the population.
            cotangent: derivatives of the function with respect to the totals.
        """
        bins = cotangent.compared
        if cotangent.of_custom:
            bins = [_joined(*pair) for pair in zip(bins, cotangent.of_custom, strict=True)]
        stacks, first = [], 0
        for stack in self.loss.objective.stacks:
            of_stack = bins[first : first + len(stack.bins)]
            stacks.append(jax.tree.map(lambda *a: np.stack(a), *of_stack))
            first += len(stack.bins)
        given = {"weight": cotangent.weight, "stacks": stacks, "extra_sums": cotangent.extra_sums}
        return self._sums.gradient(params, key_data, given)


def _part(sums: BinSums, numbers: dict[str, int], *, first: bool) -> BinSums:
    """The counts at the first points of each statistic, or at the others."""
    return BinSums(
        sums.weight,
        {
            name: counts[: numbers[name]] if first else counts[numbers[name] :]
            for name, counts in sums.counts.items()
        },
    )


def _joined(compared: BinSums, of_custom: BinSums) -> BinSums:
    """The derivatives with respect to the counts at all points of a bin."""
    counts = {
        name: np.concatenate([values, of_custom.counts[name]])
        for name, values in compared.counts.items()
    }
    return BinSums(compared.weight + of_custom.weight, counts)


def mean_totals(populations: Sequence[PopulationTotals]) -> PopulationTotals:
    """The mean of sums over populations."""
    fields = [(p.weight, p.compared, p.of_custom, p.extra_sums) for p in populations]
    return PopulationTotals(*mean_of_trees(fields))


def mean_of_trees(trees: Sequence[Any]) -> Any:
    """The mean of each leaf of trees of one structure."""

    def mean(*values: Any) -> Any:
        return sum(values[1:], values[0]) / len(values)

    return jax.tree.map(mean, *trees)
