"""Importing the package changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kdescent_dist

PACKAGE = Path(kdescent_dist.__file__).parent

# Optional or slow to import: only the functions that need them import them.
HEAVY = ("matplotlib", "mpi4py", "pyarrow", "astropy", "jinja2", "pandas", "diffopt", "finufft")


def module_names():
    """All modules, as dotted paths within the package; the package itself is left out."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = (path.parent if path.name == "__init__" else path for path in paths)
    return sorted(".".join(name.parts) for name in names if name.parts)


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
