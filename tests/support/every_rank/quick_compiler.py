"""How XLA compiles what a test carries out, in this process and in those that it starts.

To compile took two thirds of the time of most tests, for programs that then run for milliseconds.
Here XLA leaves out most of its optimizations, and takes a third of the time.

A test that says something of bits, rounding, memory or what is compiled is marked ``as_shipped``:
its programs are compiled as those of a user. So are all that compare processes, devices, versions
or packages.
"""

import os

import jax
from jax._src import compiler

MARK = "as_shipped: programs are compiled with all optimizations, as those of a user"
ASKED = "TESTS_COMPILE_QUICKLY"  # set for processes that a test starts
# XLA's older generator of loops makes less to compile of each of them. Later XLA has it no more.
QUICK = [("xla_cpu_use_fusion_emitters", False)] if jax.__version_info__ < (0, 11) else []

as_shipped = getattr(compiler, "get_compile_options", None)


def quick(*arguments, **more):
    options = as_shipped(*arguments, **more)
    options.env_option_overrides = [*options.env_option_overrides, *QUICK]
    return options


def is_quick() -> bool:
    return getattr(compiler, "get_compile_options", None) is quick


def set_quick(wanted: bool) -> None:
    """Compile quickly from here on, or as shipped; what was compiled otherwise is forgotten."""
    if as_shipped is not None and wanted != is_quick():
        jax.config.update("jax_disable_most_optimizations", wanted)
        compiler.get_compile_options = quick if wanted else as_shipped
        jax.clear_caches()


def for_processes() -> dict[str, str]:
    """What processes need in their environment, besides this folder in their PYTHONPATH."""
    return {ASKED: str(int(is_quick()))}


if os.environ.get(ASKED) == "1":
    set_quick(True)
