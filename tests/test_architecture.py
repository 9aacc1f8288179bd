"""The rooms of the package and what each may import; and importing the package changes nothing."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kdescent_dist

PACKAGE = Path(kdescent_dist.__file__).parent

# Each room, from the ground up, and the rooms that its files may import.
ROOMS = {
    "config": "",
    "identity": "config",
    "numerics": "config",
    "report": "config",
    "distributed": "config identity numerics",
    "counts": "config numerics",
    "catalogs": "config numerics distributed",
    "models": "config numerics distributed",
    "pretraining": "config numerics distributed counts",
    "bins": "config numerics distributed counts catalogs models pretraining",
    "objective": "config identity numerics distributed counts models pretraining bins",
    "response": "config numerics distributed counts catalogs models pretraining bins objective",
    "fitting": "config identity numerics distributed catalogs objective response",
    "sampling": "config numerics distributed catalogs objective response fitting",
    "diagnostics": (
        "config numerics report distributed counts catalogs models pretraining bins objective"
        " response fitting"
    ),
    "run": (
        "config identity report distributed counts catalogs models pretraining bins objective"
        " response fitting sampling diagnostics"
    ),
}
ROOT = {"__init__", "__main__", "cli"}  # what stands in no room
# What is no code of the package, though it lies in its folder.
DATA = {"sample_data"}
# Shipped models are templates to be copied: they import as a model of the user does.
TEMPLATES = {
    path.stem
    for path in (PACKAGE / "models").glob("*.py")
    if path.stem not in ("__init__", "population", "block_model", "model_traits", "row_checks")
}

# Optional or slow to import: only the functions that need them import them.
HEAVY = (
    *("matplotlib", "mpi4py", "pyarrow", "astropy", "jinja2", "pandas", "diffopt", "finufft"),
    *("corner", "blackjax"),
)


def module_names():
    """All modules, as dotted paths within the package; the package itself is left out."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = (path.parent if path.name == "__init__" else path for path in paths)
    return sorted(".".join(name.parts) for name in names if name.parts)


def room_of(name):
    return name.partition(".")[0]


def imported(name):
    """The modules of the package that a module imports, anywhere in it."""
    path = PACKAGE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            package, _, rest = module.partition(".")
            if package == "kdescent_dist":
                yield rest


def test_every_file_stands_in_a_room():
    assert {room_of(name) for name in module_names()} == {*ROOMS, *ROOT, *DATA} - {"__init__"}


def test_a_room_imports_only_from_rooms_before_it():
    """So the rooms have no cycle: the order in which they are listed is one of floors."""
    for number, (room, allowed) in enumerate(ROOMS.items()):
        assert set(allowed.split()) <= set(list(ROOMS)[:number]), room


@pytest.mark.parametrize("name", [n for n in module_names() if room_of(n) in ROOMS])
def test_a_file_imports_only_from_its_room_and_those_below(name):
    room = room_of(name)
    if room == "models" and name.rpartition(".")[2] in TEMPLATES:
        assert all(rest in kdescent_dist.__all__ for rest in imported(name))
        return
    found = {room_of(rest) for rest in imported(name)} - {room}
    assert found <= set(ROOMS[room].split())


def test_the_report_needs_no_jax():
    """The package itself imports JAX for its public names, and is left out here."""
    program = f"""
import sys, types
package = types.ModuleType("kdescent_dist")
package.__path__ = [{str(PACKAGE)!r}]
sys.modules["kdescent_dist"] = package
for name in {[n for n in module_names() if room_of(n) == "report"]!r}:
    __import__("kdescent_dist." + name)
assert not {{"jax", "jaxlib"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_command_starts_without_scipy():
    """Its import takes half a second in every process: the functions that need it import it."""
    program = "import sys, kdescent_dist.cli; assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_files_of_a_room_have_no_cycle():
    """Not even between files that import each other in a function."""
    names = module_names()
    graph = {
        name: {
            other
            for rest in imported(name)
            for other in [rest if rest in names else rest.rpartition(".")[0]]
            if other in names and other != name
        }
        for name in names
    }
    while leaves := [name for name, below in graph.items() if not below]:
        graph = {n: below - set(leaves) for n, below in graph.items() if n not in leaves}
    assert not graph


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
