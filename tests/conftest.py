"""Ring 1 and 2: every test process sees 8 fake CPU devices; a one-device mesh uses the first."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

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
