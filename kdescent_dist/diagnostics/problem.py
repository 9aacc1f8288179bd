"""What a fit is of, as one thing: the objective, the catalogs, the guess and its bounds."""

from dataclasses import dataclass

import numpy as np

from kdescent_dist.bins.bin import required_columns
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.objective.population_objective import PopulationObjective


@dataclass(frozen=True)
class Problem:
    """A fit before its first step.

    Attributes:
        objective: what the fit descends.
        bins: the pretrained bins of the objective.
        training: the training catalog.
        guess: (P,) parameters that the fit begins with.
        bounds: bounds of the parameters.
        seed: of all random numbers, any non-negative integer.
        fixed_key: whether the random numbers are the same in every step of the fit.
        fast_cpu: whether steps on CPUs take the forms of ``numerics.fast_cpu``.
        input_rows: (samples,) row in the training catalog of each row of the input catalog, in
            ascending order, where the one is made of the other; a range for all rows.
    """

    objective: PopulationObjective
    bins: tuple[PretrainedBin, ...]
    training: TrainingCatalog
    guess: np.ndarray
    bounds: Bounds
    seed: int
    fixed_key: bool = False
    fast_cpu: bool = True
    input_rows: np.ndarray | range | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns that the bins use."""
        return required_columns({b.bin.group: b.bin.config for b in self.bins})
