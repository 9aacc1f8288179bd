"""What a run is told.

``schema`` is one page of every knob, as plain dataclasses: the library takes the dataclasses, the
command line fills them. ``compose`` is the contact with OmegaConf. ``problem`` says which keys make
a problem, so that a resume can refuse another problem. ``renamed`` has the keys that had another
name before, and ``loader`` lets Hydra take these names. ``errors`` are the exceptions that a user
sees, ``validation`` checks the values of a config. ``parameters`` are those of a fit, for all
rooms, and ``parameter_tree`` is the form in which a model takes them. Nothing here knows devices or
files of data; of JAX, ``parameter_tree`` alone asks for the parts of a pytree.
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
]
