"""Statistics of weighted samples that add up over disjoint sets.

``Statistic`` is what all rooms above know of a count. ``statistics`` lists what there is:
Gaussian kernel counts (``kde``) and the empirical characteristic function (``fourier``), with
errors and gradients. Each is a table of pairs (``contraction``), contracted by a backend:
``tiled`` on CPUs, ``fused`` on GPUs, ``pallas``. ``local`` counts the samples that are here,
``sharded`` counts over a mesh.
"""

from kdescent_dist.counts.placement import TrainingDensity
from kdescent_dist.counts.points import Given, Points
from kdescent_dist.counts.statistic import Statistic

__all__ = ["Given", "Points", "Statistic", "TrainingDensity"]
