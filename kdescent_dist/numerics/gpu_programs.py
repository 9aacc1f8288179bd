"""Programs that are compiled for the device at hand: on GPUs, so that nothing waits for the host.

A GPU waits for its host before and after each library call, and each time round a loop whose length
the compiler does not know. XLA puts kernels and such loops into one CUDA graph if the option says
so and no library call is among them.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax

from kdescent_dist.numerics.fallback import with_fallback
from kdescent_dist.numerics.without_library import without_library_calls

# What XLA puts into CUDA graphs: its own defaults, and loops.
_IN_GRAPHS = (
    *("FUSION", "CUBLAS", "CUBLASLT", "CUSTOM_CALL", "CUDNN"),
    *("DYNAMIC_SLICE_FUSION", "CONDITIONAL", "WHILE"),
)
# Passes, of jaxlib 0.10 and of 0.12, that leave it to the host to copy slices in loops. No graph
# holds such copies. XLA ignores names of passes that it does not have.
_HOST_COPIES = ("fusion-dynamic-memcpy-rewriter", "dynamic-slice-annotator")


def compiled(
    function: Callable[..., Any], device: Any, written_out: bool, **options: Any
) -> Callable[..., Any]:
    """``jax.jit`` of a function for a device; for CPUs, nothing else.

    Args:
        function: a function of pytrees of arrays, which nothing differentiates.
        device: a device of the kind that will run the program.
        written_out: whether to write small matrices out on GPUs.
        options: options of ``jax.jit``.
    """
    if device.platform != "gpu":
        return jax.jit(function, **options)

    @wraps(function)  # for its name, which profiles show
    def written(*arguments: Any) -> Any:
        return with_fallback(
            lambda: without_library_calls(function)(*arguments), lambda: function(*arguments)
        )

    return jax.jit(
        written if written_out else function, compiler_options=graph_options(device), **options
    )


def graph_options(device: Any) -> dict[str, str] | None:
    """Options of the compiler that put loops into CUDA graphs, None for GPUs without them."""
    if not device.device_kind.startswith("NVIDIA"):
        return None
    return {
        "xla_gpu_enable_command_buffer": ",".join(_IN_GRAPHS),
        "xla_disable_hlo_passes": ",".join(_HOST_COPIES),
    }
