"""Starts JAX: its flags and devices, and the connection to other processes."""

import atexit
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jax
from jax._src import distributed  # for the client, which has no public name

from kdescent_dist.config.errors import InputError, StoppedFitError
from kdescent_dist.config.schema import RuntimeConfig
from kdescent_dist.distributed.abort_handler import on_abort
from kdescent_dist.distributed.launchers import Launch, find_launch, own_gpus, tells
from kdescent_dist.distributed.progress import OF_THIS_PROCESS
from kdescent_dist.distributed.watchdog import Watchdog


def start(
    config: RuntimeConfig,
    cache: Path | None = None,
    tell: Callable[[str], None] | None = None,
    launch: Launch | None = None,
) -> Watchdog | None:
    """Set the flags of JAX and connect the processes; call this before any use of a device.

    Args:
        config: launcher, platform, number of CPU devices and precision.
        cache: folder of the compilation cache, unless the user has set a folder for JAX.
        tell: called with the reason when a process is lost; by default the reason is printed. One
            process calls ``tell``. If process 0 is lost, or the processes do not meet, every
            remaining process calls ``tell``.
        launch: description of this process, if known already.

    Returns:
        The running watchdog of several processes, None for a single process.

    Raises:
        InputError: JAX was started before with other devices or finds no such platform, or the
            configured launcher did not start this process.
        ConnectionError: the processes did not meet in time.
    """
    launch = launch or find_launch(config, os.environ)
    jax.config.update("jax_enable_x64", config.x64)
    if config.platform is not None:
        platform = gpu_platform() if config.platform == "gpu" else config.platform
        jax.config.update("jax_platforms", platform)
    if config.cpu_devices is not None:
        try:
            jax.config.update("jax_num_cpu_devices", config.cpu_devices)
        except RuntimeError as error:  # the backends are up, as in the second job of a sweep
            if jax.local_device_count() != config.cpu_devices:
                raise InputError(
                    f"runtime.cpu_devices={config.cpu_devices}: this process already runs on "
                    f"{jax.local_device_count()} devices"
                ) from error
    if cache is not None and jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    watchdog = _meet(launch, config, tell or complain) if launch.processes > 1 else None
    try:
        _check_platform(config.platform)
    except InputError as error:
        if watchdog is not None:
            watchdog.leave(error, expected=True)
        raise
    return watchdog


def gpu_platform() -> str:
    """The platform of the GPUs that JAX has a plugin for: ``rocm``, or else ``cuda``."""
    plugins = [entry.name for entry in entry_points(group="jax_plugins")]
    has_rocm, has_cuda = (any(kind in one for one in plugins) for kind in ("rocm", "cuda"))
    return "rocm" if has_rocm and not has_cuda else "cuda"


def _check_platform(platform: str | None) -> None:
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error) or "JAX finds no such device"
        raise InputError(f"runtime.platform={platform}: {reason}") from error
    if platform not in (None, jax.default_backend()):
        raise InputError(
            f"runtime.platform={platform}: this process already runs on {jax.default_backend()}"
        )


def is_first(environment: Mapping[str, str]) -> bool:
    """Whether this process reports errors, for all processes started together."""
    if jax.distributed.is_initialized():
        return distributed.global_state.process_id == 0
    return tells(environment)


def _meet(launch: Launch, config: RuntimeConfig, tell: Callable[[str], None]) -> Watchdog:
    if jax.distributed.is_initialized():  # in the second job of a sweep
        raise InputError("runtime: several processes carry out one run, not a sweep of them")
    # The preemption service would replace the run's handler of SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    gpus = config.local_devices or own_gpus(launch, _visible_gpus())
    # JAX's own heartbeats time out after the watchdog, which knows the reason.
    patience = round(2 * config.heartbeat_timeout) + 10
    apart = (
        f"runtime: process {launch.process} of {launch.processes} did not meet the others at "
        f"{launch.coordinator} within {config.start_timeout} s: see runtime.coordinator and "
        "runtime.start_timeout"
    )
    on_abort(lambda: tell(apart))  # JAX usually aborts if it does not find the other processes
    try:
        jax.distributed.initialize(
            launch.coordinator,
            launch.processes,
            launch.process,
            gpus,
            cluster_detection_method="deactivate",
            initialization_timeout=config.start_timeout,
            heartbeat_timeout_seconds=patience,
            shutdown_timeout_seconds=patience,
        )
    except RuntimeError as error:
        raise ConnectionError(f"{apart} ({str(error).splitlines()[0]})") from error
    assert launch.coordinator is not None
    watchdog = Watchdog(
        distributed.global_state.client,
        launch.coordinator,
        launch.process,
        launch.processes,
        OF_THIS_PROCESS,
        heartbeat_timeout=config.heartbeat_timeout,
        step_timeout=config.step_timeout,
        tell=tell,
    )
    watchdog.start()
    # JAX would end all processes some time after the first process is done.
    atexit.register(watchdog.end_together)
    shown = sys.excepthook

    def end(kind: type, error: BaseException, trace: Any) -> None:
        shown(kind, error, trace)
        # The other processes of a script would wait for this process forever.
        watchdog.leave(error, expected=isinstance(error, InputError | StoppedFitError))

    sys.excepthook = end
    return watchdog


def _visible_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([gpu for gpu in visible.split(",") if gpu.strip()])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def complain(reason: str) -> None:
    """Print an error."""
    print(f"kdescent-dist: {reason}", file=sys.stderr, flush=True)
