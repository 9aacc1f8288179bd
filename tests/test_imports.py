"""Importing the package changes nothing, and its modules import in one direction only."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kdescent_dist

PACKAGE = Path(kdescent_dist.__file__).parent

# A module, or a subpackage as a whole, imports only from those before it.
LAYERS = (
    (
        "errors",
        "arrays",
        "settings",
        "problem",
        "nufft",
        "window_checks",
        "checks",
        "config",
        "identity",
        "syntax_digests",
        "function_code",
        "graph_digests",
        "array_content",
        "instance_content",
        "content",
        "module_origins",
        "own_modules",
        "script_code",
        "code_identity",
        "number_flags",
        "targets",
        "launch",
    ),
    ("processes", "exact_sums", "row_blocks", "aborts", "watchdog", "runtime"),
    ("mesh", "threefry", "random", "bounds", "block_layout"),
    ("expression_syntax", "expressions", "readers", "sources", "sample_data"),
    ("shares", "side_by_side", "standardization"),
    ("catalog_plan", "extremes", "selection", "held_rows", "selected_rows", "catalog"),
    ("population", "models"),
    (
        "elementary",
        "blocks",
        "small_matrices",
        "written_out",
        "pairs",
        "blocked_sums",
        "fused_sums",
        "pallas_sums",
    ),
    ("count_forms", "kde_sums", "fourier_sums", "counts"),
    ("training_data", "training_rows", "ordered_sums"),
    ("chunked_counts", "direct_counts", "training_counts"),
    ("sharded_counts", "kernel_draws", "pretrain", "kcalc"),
    (
        "windows",
        "bins",
        "grids",
        "settled_bins",
        "stacks",
        "sorted_blocks",
        "squared_sums",
        "sparse_sums",
        "bin_sums",
    ),
    ("loss", "block_sums", "dependence", "fixed_orders", "objective"),
    (
        "optimizer",
        "state",
        "history",
        "fit_identity",
        "save_interval",
        "checkpoint",
        "shared_checkpoints",
    ),
    ("callbacks", "steps", "fit", "descent"),
    ("population_sums", "diagnostics", "preview"),
    ("influences", "population_influences", "parameter_errors"),
    ("run_result", "run_clock", "run_catalogs", "stated_errors", "run_directory", "run_bins"),
    ("report", "run_report", "inspect_run", "run_log", "first_guess", "run", "sweep_job", "cli"),
)
ORDER = [name for layer in LAYERS for name in layer]

# Optional or slow to import: only the functions that need them import them.
HEAVY = ("matplotlib", "mpi4py", "pyarrow", "astropy", "jinja2", "pandas", "diffopt", "finufft")


def module_names():
    """All modules, as dotted paths within the package; the package itself is left out."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = (path.parent if path.name == "__init__" else path for path in paths)
    return sorted(".".join(name.parts) for name in names if name.parts)


def imported(name):
    """The modules of the package that a module imports, anywhere in it."""
    path = PACKAGE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            if node.module == "kdescent_dist":
                yield from (f"kdescent_dist.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_module_has_a_place_in_the_order():
    assert {name.split(".")[0] for name in module_names()} == set(ORDER)


@pytest.mark.parametrize("name", module_names())
def test_a_module_imports_only_from_those_before_it(name):
    own = name.split(".")[0]
    later = ORDER[ORDER.index(own) + 1 :]
    parts = [module.split(".") for module in imported(name)]
    assert not [p for p in parts if p[0] == "kdescent_dist" and p[1] in later]


@pytest.fixture(scope="module")
def effects():
    """What importing every module changes in a fresh process."""
    program = f"""
import importlib, json, logging, os, signal, sys, threading, warnings
import jax

def state():
    return {{
        "environment": dict(os.environ),
        "jax config": {{k: repr(v) for k, v in jax.config.values.items()}},
        "signals": {{int(s): repr(signal.getsignal(s)) for s in signal.valid_signals()}},
        "log handlers": repr(logging.getLogger().handlers),
        "log level": logging.getLogger().level,
        "folder": os.getcwd(),
    }}

before = state()
for name in {module_names()!r}:
    importlib.import_module("kdescent_dist." + name)
after = state()
changed = {{k: [before[k], after[k]] for k in before if before[k] != after[k]}}
heavy = [name for name in {HEAVY!r} if name in sys.modules]
# This must come before the devices are touched, else it raises.
jax.config.update("jax_num_cpu_devices", 3)
print(json.dumps({{"changed": changed, "heavy": heavy, "devices": jax.device_count()}}))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_importing_changes_no_setting_of_the_process(effects):
    assert effects["changed"] == {}


def test_importing_starts_no_device(effects):
    """The number of CPU devices can still be set after the import of every module."""
    assert effects["devices"] == 3


def test_importing_loads_no_optional_library(effects):
    assert effects["heavy"] == []
