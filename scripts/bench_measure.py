"""How the benchmarks measure: seconds, memory, and what diffopt would need."""

import importlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def optional(name: str) -> Any:
    """The module of that name, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def seconds_of(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begun


def repeated_seconds(call: Callable[[], Any], seconds: float = 1.0, most: int = 200) -> list[float]:
    """The times of calls back to back after one to warm up: 3 at least, for about ``seconds``."""
    seconds_of(call)
    times = [seconds_of(call) for _ in range(3)]
    while sum(times) < seconds and len(times) < most:
        times.append(seconds_of(call))
    return times


def best_seconds(call: Callable[[], Any], seconds: float = 1.0, most: int = 200) -> float:
    """The minimum of ``repeated_seconds``."""
    return min(repeated_seconds(call, seconds, most))


def microseconds(seconds: float) -> float:
    """As a record has them, to a tenth."""
    return round(1e6 * float(seconds), 1)


def size(n: int) -> str:
    """A number of samples as it is spoken of, such as 1e5."""
    return f"{n:.0e}".replace("e+0", "e")


def compiled(function: Callable, *args: Any) -> Any:
    return jax.jit(function).lower(*args).compile()


def temporary_bytes(program: Any) -> int:
    """What XLA allocates for the intermediate values of a compiled program."""
    return int(program.memory_analysis().temp_size_in_bytes)


def available_bytes() -> int:
    """Memory of the device that is free now; that of the machine, on CPU."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("MemAvailable")]
    return int(line.split()[1]) * 1024


def peak_bytes() -> int:
    """Largest memory so far: of the device where it keeps count, else of this process."""
    stats = jax.devices()[0].memory_stats() or {}
    unit = 1 if sys.platform == "darwin" else 1024
    return int(
        stats.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    )


def too_large(program: Any) -> str | None:
    """What to say of a program of diffopt that needs most of the free memory, or more."""
    need, free = temporary_bytes(program), available_bytes()
    if need < 0.8 * free:
        return None
    return f"diffopt needs {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"


def against(ours: Callable, theirs: Callable | None, *args: Any) -> dict[str, Any]:
    """Time two functions of the same arguments, ours first.

    The allocations of diffopt slow down what runs after it. It is left out, with a note, where
    its program would take most of the free memory.
    """
    program = compiled(ours, *args)
    row: dict[str, Any] = {"ours_s": best_seconds(lambda: program(*args))}
    if theirs is None:
        return row | {"note": "diffopt is not installed"}
    other = compiled(theirs, *args)
    if note := too_large(other):
        return row | {"note": note}
    return row | {"diffopt_s": best_seconds(lambda: other(*args))}
