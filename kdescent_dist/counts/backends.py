"""The backends of the sums over samples x kernels, one for each kind of hardware."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jax import lax

from kdescent_dist.config.validation import one_of
from kdescent_dist.counts.contraction import Backend
from kdescent_dist.counts.fused import FusedBackend
from kdescent_dist.counts.pallas import PallasBackend
from kdescent_dist.counts.tiled import TiledBackend

_PLAIN: dict[str, Backend] = {"tiled": TiledBackend(), "fused": FusedBackend()}
# What ``auto`` is on each platform; ``counts.choice`` knows the devices of a fit as well.
AUTO = {"cpu": "tiled", "default": "fused"}
# The backend for each platform that a program is compiled for; "default" is any other platform.
_BY_PLATFORM: dict[str, dict[str, Backend]] = {
    "auto": {platform: _PLAIN[name] for platform, name in AUTO.items()},
    **{name: {"default": backend} for name, backend in _PLAIN.items()},
    "pallas": {"cpu": PallasBackend(interpret=True), "cuda": PallasBackend(interpret=False)},
}


BACKENDS = tuple(_BY_PLATFORM)
# Backends whose kernels serve many bins or blocks at once, as a GPU needs it.
SIDE_BY_SIDE = ("fused", "pallas")


def check_backend(backend: str, key: str = "backend") -> None:
    """Raise an InputError unless ``backend``, the value of ``key``, is the name of a backend."""
    one_of(key, backend, BACKENDS)


def with_backend(backend: str, function: Callable[..., Any], *args: Any) -> Any:
    """Evaluate ``function(backend, *args)`` with the backend of a name.

    The platform is the one for which the program is compiled, not the default platform of the
    process. The program does not contain the backends of other platforms.
    """
    branches = {p: partial(function, own) for p, own in _BY_PLATFORM[backend].items()}
    if len(branches) == 1:
        return branches["default"](*args)
    return lax.platform_dependent(*args, **branches)
