"""The losses that a fit minimizes.

``chain_rule`` computes a loss of sums over blocks of samples, and its gradient. ``residuals``
compares the sums of the model with the sums of the training catalog, and ``terms`` computes the
mean square of the residuals. ``log_prior`` is the prior of the parameters. ``PopulationObjective``
combines them. ``LossObjective`` wraps any function.
"""

from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.population_objective import PopulationObjective

__all__ = ["LossObjective", "PopulationObjective"]
