"""The process: devices and flags at its start, signals that ask it to stop, its description."""

import importlib.metadata
import os
import platform
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from kdescent_dist.errors import InputError
from kdescent_dist.settings import RuntimeConfig

PACKAGES = ("kdescent-dist", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "hydra-core")


def start(config: RuntimeConfig, cache: Path | None = None) -> None:
    """Set the flags of JAX; to be called before anything touches a device.

    Args:
        config: platform, number of CPU devices and precision.
        cache: folder of the compilation cache, unless the user has set one for JAX.

    Raises:
        InputError: JAX was started before with other devices, or finds no such platform.
    """
    jax.config.update("jax_enable_x64", config.x64)
    if config.platform is not None:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(config.platform, config.platform))
    if config.cpu_devices is not None:
        try:
            jax.config.update("jax_num_cpu_devices", config.cpu_devices)
        except RuntimeError as error:  # the backends are up, as in the second job of a sweep
            if jax.device_count() != config.cpu_devices:
                raise InputError(
                    f"runtime.cpu_devices={config.cpu_devices}: this process already runs on "
                    f"{jax.device_count()} devices"
                ) from error
    if cache is not None and jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error) or "JAX finds no such device"
        raise InputError(f"runtime.platform={config.platform}: {reason}") from error
    if config.platform not in (None, jax.default_backend()):
        raise InputError(
            f"runtime.platform={config.platform}: this process already runs on "
            f"{jax.default_backend()}"
        )


def is_primary() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of installed packages."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_devices(mesh: jax.sharding.Mesh) -> dict[str, Any]:
    first = mesh.devices.flat[0]
    return {
        "count": int(mesh.devices.size),
        "kind": first.device_kind,
        "platform": first.platform,
        "mesh": dict(mesh.shape),
        "processes": jax.process_count(),
        "host": platform.node(),
    }


class StopSignals:
    """Remembers that SIGTERM or SIGINT asked the process to stop; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self.received: str | None = None

    def requested(self) -> bool:
        return self.received is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        # Nothing but a flag may be set here: the signal can interrupt any line, also a save.
        if number == signal.SIGINT and self.received == "SIGINT":
            os._exit(130)
        if number == signal.SIGINT:
            os.write(2, b"\nstopping after these steps; Ctrl-C again stops at once, unsaved\n")
        self.received = signal.Signals(number).name

    @contextmanager
    def installed(self) -> Iterator["StopSignals"]:
        """Handle the signals within the context, and restore what was there before after it."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self.handle) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
