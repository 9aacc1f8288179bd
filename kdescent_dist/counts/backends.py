"""The backends of the sums over samples x kernels, for one kind of hardware each."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jax import lax

from kdescent_dist.config.validation import one_of
from kdescent_dist.counts.contraction import Backend
from kdescent_dist.counts.fused import FusedBackend
from kdescent_dist.counts.pallas import PallasBackend
from kdescent_dist.counts.tiled import TiledBackend

# Which backend a program takes that is compiled for a platform; "default" is all others.
_BY_PLATFORM: dict[str, dict[str, Backend]] = {
    "auto": {"cpu": TiledBackend(), "default": FusedBackend()},
    "tiled": {"default": TiledBackend()},
    "fused": {"default": FusedBackend()},
    "pallas": {"cpu": PallasBackend(interpret=True), "cuda": PallasBackend(interpret=False)},
}


BACKENDS = tuple(_BY_PLATFORM)


def check_backend(backend: str, key: str = "backend") -> None:
    """Raise an InputError unless ``backend``, the value of a key, names one of the backends."""
    one_of(key, backend, BACKENDS)


def with_backend(backend: str, function: Callable[..., Any], *args: Any) -> Any:
    """Evaluate ``function(backend, *args)`` with the backend of that name.

    The platform is that for which the program is compiled, not that of the process; of the backends
    of other platforms nothing is left in it.
    """
    branches = {p: partial(function, own) for p, own in _BY_PLATFORM[backend].items()}
    if len(branches) == 1:
        return branches["default"](*args)
    return lax.platform_dependent(*args, **branches)
