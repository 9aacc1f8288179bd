"""The points at which the counts of populations and catalogs are compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.bins.ratio_errors import norm_factors
from kdescent_dist.bins.stacks import BinStack
from kdescent_dist.bins.sums import draw_rows
from kdescent_dist.bins.training_errors import training_errors
from kdescent_dist.counts.statistic import Points
from kdescent_dist.numerics.prng import as_key, draw_key
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.residuals import Compared
from kdescent_dist.pretraining.training_counts import TrainingCounts

# Most points per statistic and bin, by default.
LARGEST_SET = 600


def subsample(rng: np.random.Generator, size: int, most: int) -> tuple[np.ndarray, float]:
    """At most ``most`` random indices of ``size``, and the number of indices each represents."""
    if size <= most:
        return np.arange(size), 1.0
    return np.sort(rng.choice(size, most, replace=False)), size / most


@dataclass(frozen=True)
class EvaluationPoints:
    """The points at which a bin is compared, as indices into its training counts.

    Attributes:
        pretrained: the bin.
        indices: names of statistics to indices (k,) of points.
        window: lower edges, upper edges and softness of the window, each (c,).
    """

    pretrained: PretrainedBin
    indices: dict[str, np.ndarray]
    window: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls, pretrained: PretrainedBin, rng: np.random.Generator, largest: int | None = None
    ) -> "EvaluationPoints":
        """At most ``largest`` random points of each statistic of a bin, all if a step uses all.

        Points that steps draw overlap: some represent all. Other points need not overlap.
        """
        most = largest or LARGEST_SET
        indices = {
            name: subsample(rng, counts.number, counts.number if counts.every else most)[0]
            for name, counts in pretrained.statistics.items()
        }
        return cls.at(pretrained, indices)

    @classmethod
    def at(cls, pretrained: PretrainedBin, indices: dict[str, np.ndarray]) -> "EvaluationPoints":
        """The points of a bin with the given indices."""
        edges = np.reshape(list(pretrained.bin.window.values()), (-1, 2))
        window = (edges[:, 0], edges[:, 1], np.array(pretrained.bin.softness))
        return cls(pretrained, indices, window)

    @cached_property
    def points(self) -> dict[str, Points]:
        """Names of statistics to the points."""
        found = self.pretrained.statistics
        return {name: found[name].points.at(rows) for name, rows in self.indices.items()}

    @property
    def number(self) -> int:
        """Number of points of all statistics."""
        return sum(len(rows) for rows in self.indices.values())

    @property
    def truth(self) -> BinSums:
        """The training sums at the points."""
        return self._at_points(self.pretrained.training_sum, lambda counts: counts.values)

    @property
    def errors(self) -> BinSums:
        """The errors of the training sums, without those of a norm."""
        return self._at_points(self.pretrained.number_err, lambda counts: counts.errors)

    def normalized_errors(self, weight: float, volume: float = 1.0) -> Compared:
        """The errors of the compared numbers of the training catalog, see ``training_errors``.

        Args:
            weight: sum of all weights of the training catalog.
            volume: ``loss.volume``.
        """
        every = training_errors(self.pretrained, weight, np.float64)
        at_points = {name: every[name][rows] for name, rows in self.indices.items()}
        return Compared(at_points, self.pretrained.number_err / volume)

    @property
    def norm_factors(self) -> np.ndarray:
        """(2,) factors in the contribution of a sample to the norm, see ``ratio_errors``."""
        return norm_factors([self.pretrained.bin.config.normalization])[0]

    def _at_points(self, weight: float, of: Callable[[TrainingCounts], np.ndarray]) -> BinSums:
        found = self.pretrained.statistics
        counts = {n: np.asarray(of(found[n])[rows], float) for n, rows in self.indices.items()}
        return BinSums(weight, counts)

    def columns_of(self, columns: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The compared columns and the conditional columns of the bin, from those of samples."""
        bin_ = self.pretrained.bin
        x, conditions = (tuple(columns[n] for n in names) for names in (bin_.columns, bin_.window))
        return x, conditions


def indices_of_stacks(
    stacks: Sequence[BinStack], *sets: Sequence[EvaluationPoints]
) -> list[dict[str, np.ndarray]]:
    """For each stack, names of statistics to indices (m, k) of the points of all sets.

    Args:
        stacks: the stacks.
        sets: sets of points of each bin, in the order of the bins in the stacks.
    """
    bins = zip(*sets, strict=True)
    each = [[next(bins) for _ in stack.bins] for stack in stacks]
    return [
        {n: np.stack([np.concatenate([one.indices[n] for one in b]) for b in of]) for n in s.drawn}
        for s, of in zip(stacks, each, strict=True)
    ]


def points_of_a_step(
    objective: PopulationObjective, bins: Sequence[PretrainedBin], seed: int | jax.Array
) -> list[EvaluationPoints]:
    """The bins in the order of the stacks, at the points that one step draws.

    Args:
        objective: the objective.
        bins: the bins of the objective.
        seed: seed of the draw.
    """
    by_name = {pretrained.bin.name: pretrained for pretrained in bins}
    arrays = objective.data["shared"]["stacks"]
    drawn = draw_rows(objective.stacks, arrays, draw_key(as_key(seed)))
    return [
        EvaluationPoints.at(by_name[bin_.name], {n: np.asarray(r[i]) for n, r in rows.items()})
        for stack, rows in zip(objective.stacks, drawn, strict=True)
        for i, bin_ in enumerate(stack.bins)
    ]
