"""Versions of Python and of installed packages."""

import importlib.metadata
import platform
from collections.abc import Iterable

PACKAGES = ("kdescent-dist", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "hydra-core")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of installed packages."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
