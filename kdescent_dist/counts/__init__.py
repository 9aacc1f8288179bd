"""Statistics of weighted samples that add up over disjoint sets.

``Statistic`` is the interface of a count for the rooms above. ``statistics`` lists the shipped
statistics: Gaussian kernel counts (``kde``) and the empirical characteristic function
(``fourier``), with errors and gradients. Each count is a table of pairs (``contraction``), which a
backend contracts: ``tiled`` on CPUs, ``fused`` on GPUs, or ``pallas``. ``local`` counts one set of
samples, ``sharded`` counts samples that are sharded over a mesh.
"""

from kdescent_dist.counts.placement import TrainingDensity
from kdescent_dist.counts.points import Given, Points
from kdescent_dist.counts.statistic import Statistic

__all__ = ["Given", "Points", "Statistic", "TrainingDensity"]
