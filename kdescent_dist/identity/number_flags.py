"""Settings of JAX and XLA that change numbers and differ from their defaults."""

import os
import shlex
from enum import Enum
from pathlib import Path
from typing import Any

import jax

# Defaults of JAX 0.10 to 0.12, which agree. In a version without a setting, the default applies.
# jax_enable_x64 is missing here: the identity contains the type of the numbers.
_DEFAULTS: dict[str, Any] = {
    "eager_constant_folding": False,
    "jax_bcoo_cusparse_lowering": False,
    "jax_compiler_enable_remat_pass": True,
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_disable_most_optimizations": False,
    "jax_disable_jit": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_explicit_x64_dtypes": "warn",
    "jax_high_dynamic_range_gumbel": False,
    "jax_memory_fitting_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_numpy_dtype_promotion": "standard",
    "jax_optimization_level": "UNKNOWN",
    "jax_ragged_dot_use_gpu_pallas_triton_lowering": False,
    "jax_ragged_dot_use_ragged_dot_instruction": True,
    "jax_random_seed_offset": 0,
    "jax_softmax_custom_jvp": False,
    "jax_threefry_partitionable": True,
    "jax_use_direct_linearize": True,
    "jax_use_hlo_logistic_lowering": None,
    "jax_use_magma": "auto",
    "jax_use_shardy_partitioner": True,
    "jax_use_simplified_jaxpr_constants": False,
}

# Prefixes of XLA flags about output files, launching and compile time, which change no numbers.
_HARMLESS = (
    "--xla_cpu_collective_call_",
    "--xla_cpu_collective_timeout",
    "--xla_cpu_parallel_codegen_split_count",
    "--xla_disable_all_hlo_dumps",
    "--xla_dump",
    "--xla_embed_ir_in_executable",
    "--xla_force_host_platform_device_count",
    "--xla_gpu_autotune_cache_mode",
    "--xla_gpu_command_buffer",
    "--xla_gpu_cuda_data_dir",
    "--xla_gpu_dump",
    "--xla_gpu_enable_command_buffer",
    "--xla_gpu_enable_llvm_module_compilation_parallelism",
    "--xla_gpu_executable_terminate_timeout",
    "--xla_gpu_executable_warn_stuck_timeout",
    "--xla_gpu_first_collective_call_",
    "--xla_gpu_force_compilation_parallelism",
    "--xla_gpu_graph_",
    "--xla_gpu_kernel_cache_file",
    "--xla_gpu_nccl_terminat",
    "--xla_gpu_per_fusion_autotune_cache_dir",
    "--xla_hlo_profile",
    "--xla_tpu_dump",
)


def number_flags() -> dict[str, str]:
    """Settings of JAX and XLA that change numbers and differ from their defaults.

    An XLA flag counts, even at its default, unless the flag is known not to change numbers.

    Returns:
        Values by ``flag.<name>``, such as ``flag.jax_threefry_partitionable``,
        ``flag.--xla_gpu_deterministic_ops`` or ``flag.NVIDIA_TF32_OVERRIDE``.
    """
    texts = {name: _text(_setting(name, default)) for name, default in _DEFAULTS.items()}
    found = {name: t for name, t in texts.items() if t != str(_DEFAULTS[name])}
    found |= _xla_flags(os.environ.get("XLA_FLAGS", ""))
    if tf32 := os.environ.get("NVIDIA_TF32_OVERRIDE"):
        found["NVIDIA_TF32_OVERRIDE"] = tf32
    return {f"flag.{name}": found[name] for name in sorted(found)}


def _setting(name: str, default: Any) -> Any:
    # Settings without a context manager are not attributes of jax.config.
    return getattr(jax.config, name, jax.config.values.get(name, default))


def _text(value: Any) -> str:
    return value.name.lower() if isinstance(value, Enum) else str(value)


def _xla_flags(text: str) -> dict[str, str]:
    """Names to values of the XLA flags; the last value of a flag counts."""
    text = text.strip()
    if text and not text.startswith("-"):  # the name of a file with flags
        try:
            text = Path(text).read_text()
        except OSError:
            return {}
    try:
        words = shlex.split(text, comments=False)
    except ValueError:
        words = text.split()
    flags = {}
    for word in words:
        name, given, value = word.partition("=")
        flags[name] = value if given else "true"
    return {name: value for name, value in flags.items() if not name.startswith(_HARMLESS)}
