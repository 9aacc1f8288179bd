"""The loss of a fit at one set of points, which follow from the seed."""

from dataclasses import dataclass, replace
from functools import cached_property

import jax
import numpy as np

from kdescent_dist.bins.bin import required_columns
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.numerics.prng import seed_number
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response.points import EvaluationPoints, points_of_a_step

MOST_OF_BIN = 60  # most points per statistic and bin; fewer with many bins
FEWEST_OF_BIN = 10
POINTS = 6000  # points of two statistics in all bins


@dataclass(frozen=True)
class CatalogRows:
    """The rows whose noise makes the errors of the parameters.

    Attributes:
        training: the training catalog.
        input_rows: if the training catalog is the input catalog, the ascending numbers (samples,)
            of the rows that the model gets, or a range for all rows; otherwise None.
    """

    training: TrainingCatalog
    input_rows: np.ndarray | range | None = None

    def pick(self, places: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns and weights, in the training catalog, of rows of the input catalog."""
        return self.training.pick(self._numbers(places))

    def regions_of(self, places: np.ndarray) -> np.ndarray:
        """Indices of the regions of rows of the input catalog, which is the training catalog."""
        return self.training.regions_of(self._numbers(places))

    def _numbers(self, places: np.ndarray) -> np.ndarray:
        rows = self.input_rows
        return rows[places] if isinstance(rows, np.ndarray) else places


@dataclass(frozen=True)
class FixedLoss:
    """A loss without the randomness of a step: its points are fixed.

    The points stand for all points that steps draw. If all steps have one key, the points are those
    of all steps.

    Attributes:
        objective: the objective of the fit.
        parameters: the parameters.
        seed: seed of all random numbers, any non-negative integer, or the random key of the fit.
        fixed_key: whether the random numbers are the same in every step of the fit.
        catalogs: the rows of the catalogs, which errors need, and most finishes do not; None also
            if all counts are given.
    """

    objective: PopulationObjective
    parameters: Parameters
    seed: int | jax.Array
    fixed_key: bool = False
    catalogs: CatalogRows | None = None

    @cached_property
    def rows(self) -> CatalogRows:
        """The rows of the catalogs, with the columns that the bins use.

        Raises:
            InputError: the loss has none, but counts of a training catalog.
        """
        if self.catalogs is None:
            if any(one.counts is not None for one in self.objective.bins):
                raise InputError("errors of the parameters need the training catalog")
            nothing = np.zeros(0)
            columns = dict.fromkeys(self.columns, nothing)
            return CatalogRows(TrainingCatalog.of(columns, nothing))
        return replace(self.catalogs, training=self.catalogs.training.only(self.columns))

    @cached_property
    def compared(self) -> list[EvaluationPoints]:
        """The points of each bin, in the order of the bins in the stacks."""
        if self.fixed_key:
            return points_of_a_step(self.objective, self.objective.bins, self.seed)
        rng = np.random.default_rng(seed_number(self.seed))
        number = 2 * len(self.objective.bins)
        most = int(np.clip(POINTS // number, FEWEST_OF_BIN, MOST_OF_BIN))
        return [EvaluationPoints.of(bin_, rng, most) for bin_ in self._in_stacks()]

    @cached_property
    def of_custom(self) -> list[EvaluationPoints]:
        """The points of one step in each bin, for ``loss.custom``; empty without."""
        if self.objective.custom is None:
            return []
        return points_of_a_step(self.objective, self.objective.bins, self.seed)

    @property
    def sets(self) -> list[EvaluationPoints]:
        """All sets of points: those of ``compared``, and then those of ``of_custom``."""
        return [*self.compared, *self.of_custom]

    @property
    def pairs(self) -> int:
        """The pairs of a sample and a point in the sums over one population, at least 1."""
        points = sum(one.number for one in self.sets)
        return self.objective.layout.size * max(points, 1)

    @property
    def columns(self) -> list[str]:
        """Names of the columns that the bins use."""
        return required_columns({one.bin.group: one.bin.config for one in self.objective.bins})

    def _in_stacks(self) -> list[PretrainedBin]:
        positions = [i for stack in self.objective.stacks for i in stack.positions]
        return [self.objective.bins[i] for i in positions]
