"""Programs that are compiled for the device at hand.

On CPUs, the bits of a program follow from the program alone, not from the number of devices or of
cores. Each operation is computed once (``merged``). XLA moves nothing out of loops: what it moves
out twice, it no longer merges. Matrices are transposed before they are multiplied: the library that
multiplies a transposed matrix adds in an order that depends on the number of threads.

A GPU waits for its host before and after each library call, and each time round a loop whose length
the compiler does not know. XLA puts kernels and such loops into one CUDA graph if the option says
so and no library call is among them.

XLA times algorithms on a GPU while it compiles, and takes the fastest. Another start may take
another one, with other bits. So algorithms are chosen without timing, and sums whose order varies
from run to run, such as atomic additions, are replaced by sums of a fixed order.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax

from kdescent_dist.numerics.fallback import PLAIN, with_fallback
from kdescent_dist.numerics.merged import merged
from kdescent_dist.numerics.without_library import without_library_calls

Options = dict[str, str | bool | int]
Form = Callable[[Callable[..., Any]], Callable[..., Any]]

_ON_CPUS = "a program has last bits that may depend on the number of devices"

_CPU_OPTIONS: Options = {
    "xla_disable_hlo_passes": "while-loop-invariant-code-motion,transpose-folding"
}
# What XLA puts into CUDA graphs: its own defaults, and loops.
_IN_GRAPHS = (
    *("FUSION", "CUBLAS", "CUBLASLT", "CUSTOM_CALL", "CUDNN"),
    *("DYNAMIC_SLICE_FUSION", "CONDITIONAL", "WHILE"),
)
# Passes, of jaxlib 0.10 and of 0.12, that leave it to the host to copy slices in loops. No graph
# holds such copies. XLA ignores names of passes that it does not have.
_HOST_COPIES = ("fusion-dynamic-memcpy-rewriter", "dynamic-slice-annotator")


def compiled(
    function: Callable[..., Any], device: Any, *, written_out: bool = False, **options: Any
) -> Callable[..., Any]:
    """``jax.jit`` of a function for a device.

    Args:
        function: a function of pytrees of arrays, which nothing differentiates.
        device: a device of the kind that will run the program.
        written_out: whether to write small matrices out on GPUs.
        options: options of ``jax.jit``.
    """
    options["compiler_options"] = compiler_options(device)
    if device.platform == "cpu":
        return jax.jit(_in_form(merged, function, _ON_CPUS), **options)
    if device.platform == "gpu" and written_out:
        return jax.jit(_in_form(without_library_calls, function, PLAIN), **options)
    return jax.jit(function, **options)


def _in_form(form: Form, function: Callable[..., Any], told: str) -> Callable[..., Any]:
    """A function in a form, or as it is where it has no such form."""

    @wraps(function)  # for its name, which profiles show
    def given(*arguments: Any) -> Any:
        return with_fallback(lambda: form(function)(*arguments), lambda: function(*arguments), told)

    return given


def compiler_options(device: Any) -> Options | None:
    """Options of XLA: the same bits in each run and on any mesh; loops in CUDA graphs.

    None for devices other than CPUs and NVIDIA GPUs.
    """
    if device.platform == "cpu":
        return _CPU_OPTIONS
    if not device.device_kind.startswith("NVIDIA"):
        return None
    return {
        "xla_gpu_enable_command_buffer": ",".join(_IN_GRAPHS),
        "xla_disable_hlo_passes": ",".join(_HOST_COPIES),
        "xla_gpu_autotune_level": 0,
        "xla_gpu_deterministic_ops": True,
    }
