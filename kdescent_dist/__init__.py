"""Fit stochastic population models to catalogs, on one device or on many.

The drop-in door is ``KPretrainer``, ``KCalc``, ``adam`` and ``bfgs``; the library door is
``PopulationObjective`` (or ``LossObjective``) and ``fit``; the command line is ``kdescent-dist``.
"""

from kdescent_dist.bins import (
    count_bins,
    expand_bins,
    pretrain_bin,
    resolve_grids,
    settle_bins,
    soft_tophat,
)
from kdescent_dist.catalogs import Catalog, load_catalog
from kdescent_dist.config import (
    BinsConfig,
    CatalogConfig,
    CheckpointConfig,
    CheckpointError,
    CountsConfig,
    FitConfig,
    InputError,
    LossConfig,
    NonFiniteLossError,
    Parameters,
    Preempted,
    RuntimeConfig,
    StopConfig,
)
from kdescent_dist.distributed import make_mesh, mesh_of, start
from kdescent_dist.fitting import Bounds, FitResult, adam, bfgs, fit
from kdescent_dist.models import Population
from kdescent_dist.objective import LossObjective, PopulationObjective
from kdescent_dist.pretraining import KCalc, KPretrainer
from kdescent_dist.sampling import likelihood

__all__ = [
    "BinsConfig",
    "Bounds",
    "Catalog",
    "CatalogConfig",
    "CheckpointConfig",
    "CheckpointError",
    "CountsConfig",
    "FitConfig",
    "FitResult",
    "InputError",
    "KCalc",
    "KPretrainer",
    "LossConfig",
    "LossObjective",
    "NonFiniteLossError",
    "Parameters",
    "Population",
    "PopulationObjective",
    "Preempted",
    "RuntimeConfig",
    "StopConfig",
    "adam",
    "bfgs",
    "count_bins",
    "expand_bins",
    "fit",
    "likelihood",
    "load_catalog",
    "make_mesh",
    "mesh_of",
    "pretrain_bin",
    "resolve_grids",
    "settle_bins",
    "soft_tophat",
    "start",
]
