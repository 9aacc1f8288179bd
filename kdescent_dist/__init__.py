"""Fit stochastic population models to catalogs, on one device or on many.

The drop-in door is ``KPretrainer``, ``KCalc``, ``adam`` and ``bfgs``; the library door is
``PopulationObjective`` (or ``LossObjective``) and ``fit``; the command line is ``kdescent-dist``.
"""

from kdescent_dist.bins.bin import expand_bins
from kdescent_dist.bins.edges import resolve_grids
from kdescent_dist.bins.few_training import count_bins, settle_bins
from kdescent_dist.bins.pretrained import pretrain_bin
from kdescent_dist.bins.windows import soft_tophat
from kdescent_dist.catalogs.catalog import Catalog, load_catalog
from kdescent_dist.config.errors import CheckpointError, InputError, NonFiniteLossError, Preempted
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import (
    BinsConfig,
    CatalogConfig,
    CheckpointConfig,
    CountsConfig,
    FitConfig,
    LossConfig,
    RuntimeConfig,
)
from kdescent_dist.distributed.mesh import make_mesh, mesh_of
from kdescent_dist.distributed.runtime import start
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.dropin import adam, bfgs
from kdescent_dist.fitting.loop import FitResult, fit
from kdescent_dist.models.population import Population
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.pretraining.kcalc import KCalc
from kdescent_dist.pretraining.pretrainer import KPretrainer

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
    "adam",
    "bfgs",
    "count_bins",
    "expand_bins",
    "fit",
    "load_catalog",
    "make_mesh",
    "mesh_of",
    "pretrain_bin",
    "resolve_grids",
    "settle_bins",
    "soft_tophat",
    "start",
]
