"""The objective, the catalogs and the parameters of a fit, in one object."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response.fixed_loss import CatalogRows, FixedLoss
from kdescent_dist.response.linearizer import Linearizer


@dataclass(frozen=True)
class Problem:
    """A fit before its first step.

    Attributes:
        objective: the loss that the fit minimizes.
        training: the training catalog.
        parameters: the parameters, with the guess in the precision of the fit.
        seed: seed of all random numbers, any non-negative integer.
        fixed_key: whether the random numbers are the same in every step of the fit.
        written_out: whether steps use the forms of the loss in ``numerics.fallback``.
        input_rows: if the training catalog is the input catalog, the ascending numbers (samples,)
            of the rows that the model gets, or a range for all rows; otherwise None.
    """

    objective: PopulationObjective
    training: TrainingCatalog
    parameters: Parameters
    seed: int
    fixed_key: bool = False
    written_out: bool = True
    input_rows: np.ndarray | range | None = None

    @property
    def guess(self) -> np.ndarray:
        """The parameters (P,) that the fit begins with."""
        return self.parameters.guess

    @property
    def bins(self) -> tuple[PretrainedBin, ...]:
        """The pretrained bins of the objective."""
        return self.objective.bins

    @property
    def columns(self) -> list[str]:
        """Names of the columns that the bins use."""
        return self.fixed_loss.columns

    @cached_property
    def fixed_loss(self) -> FixedLoss:
        """The loss at one set of points, of which errors and distances are."""
        rows = CatalogRows(self.training, self.input_rows)
        return FixedLoss(self.objective, self.parameters, self.seed, self.fixed_key, rows)

    @cached_property
    def linearizer(self) -> Linearizer:
        """Linearizes the loss; its programs compile once."""
        return Linearizer(self.fixed_loss)
