"""Ring 1 and 2: every test process sees 8 fake CPU devices; a one-device mesh uses the first."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from kdescent_dist.config import registry
from support.slurm_cluster import SlurmCluster, missing
from support.slurm_jobs import FINITE, Jobs, fit_alone

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# Tests build the same programs many times over; the cache compiles each of them once.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache/jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_report_header() -> str:
    return f"devices: {jax.device_count()} x {jax.devices()[0].platform}, {os.cpu_count()} cores"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that mostly wait for a scheduler go first: beside them, another worker computes."""
    items.sort(key=lambda item: not item.path.name.startswith("test_slurm"))


@pytest.fixture(scope="session", autouse=True)
def eight_devices() -> None:
    """Fail aloud, rather than pass on one device, where the fake devices did not come up."""
    assert jax.device_count() == 8


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A SLURM of two nodes on this host."""
    if reason := missing():
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell(f"no SLURM here: {reason}")
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def jobs(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Jobs]:
    """Jobs on that cluster, started in a folder of their own; none is left after a test."""
    yield Jobs(slurm, tmp_path)
    slurm.clear()


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run directories of a fit and further overrides, done by one process."""
    folder = tmp_path_factory.mktemp("uninterrupted")

    def done(*overrides: str, fit: tuple[str, ...] = FINITE) -> Path:
        path = folder / "-".join((f"fit{hash(fit)}", *overrides))
        return fit_alone(path, *fit, *overrides)

    return done


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a package of one module that adds to a registry, for the time of a test."""

    def install(group: str, source: str, name: str) -> None:
        folder = tmp_path / "installed"
        (folder / "their_package-1.0.dist-info").mkdir(parents=True)
        (folder / "their_package.py").write_text(source)
        info = folder / "their_package-1.0.dist-info"
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\ntheirs = their_package:{name}\n")
        monkeypatch.syspath_prepend(str(folder))
        forget_plugins()

    def forget_plugins() -> None:
        importlib.invalidate_caches()
        sys.modules.pop("their_package", None)
        registry.entries.cache_clear()

    yield install
    monkeypatch.undo()
    forget_plugins()
