"""What a fit descends.

``chain_rule``: sums over blocks, loss of the sums, cotangent pulled back through each block, with
one collective each way. ``terms``: residuals between the sums of model and training catalog, and
their mean square. ``PopulationObjective`` puts them together, ``LossObjective`` wraps any function.
"""

from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.population_objective import PopulationObjective

__all__ = ["LossObjective", "PopulationObjective"]
