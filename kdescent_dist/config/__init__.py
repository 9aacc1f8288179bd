"""The config of a run, its parameters, and the errors that a user sees.

``schema`` lists every knob in plain dataclasses: the library takes the dataclasses, and the command
line fills them. ``compose`` reads and writes configs with OmegaConf. ``problem`` selects the keys
that make a problem, so that a resume can refuse another problem. ``renamed`` lists the keys with
earlier names, and ``loader`` lets Hydra accept the earlier names. ``errors`` are the exceptions
that a user sees. ``validation`` checks single values. ``registry`` and ``dotted_path`` find code of
other packages and of the user. ``parameters`` holds the parameters of a fit for all rooms, and
``parameter_tree`` is the tree in which a model takes them. ``scales`` are the units of parameters
in the optimizer, and ``priors`` what was known of them before a fit. This room knows no devices and
no data files. Only ``parameter_tree`` imports JAX, to take pytrees apart.
"""

from kdescent_dist.config.errors import CheckpointError, InputError, NonFiniteLossError, Preempted
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import (
    BinsConfig,
    CatalogConfig,
    CheckpointConfig,
    Config,
    CountsConfig,
    FitConfig,
    LossConfig,
    RuntimeConfig,
    StopConfig,
)

__all__ = [
    "BinsConfig",
    "CatalogConfig",
    "CheckpointConfig",
    "CheckpointError",
    "Config",
    "CountsConfig",
    "FitConfig",
    "InputError",
    "LossConfig",
    "NonFiniteLossError",
    "Parameters",
    "Preempted",
    "RuntimeConfig",
    "StopConfig",
]
