"""What runs of real processes share: a SLURM of two nodes, and fits that nothing disturbs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import rings, stub_fit
from support.slurm_cluster import SlurmCluster, missing
from support.slurm_jobs import FINITE, Jobs, fit_alone


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A SLURM of two nodes on this host."""
    if reason := missing():
        rings.cannot_run(f"no SLURM here: {reason}")
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def jobs(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Jobs]:
    """Jobs on that cluster, started in a folder of their own; none is left after a test."""
    yield Jobs(slurm, tmp_path)
    slurm.clear()


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment whose command obeys the codes and signals of a fit, and does none."""
    return stub_fit.install(tmp_path_factory.mktemp("stub") / "venv")


@pytest.fixture
def stub_jobs(slurm: SlurmCluster, tmp_path: Path, stub: Path) -> Iterator[Jobs]:
    """The same jobs with that command, for what the scripts do around it."""
    yield Jobs(slurm, tmp_path, KDESCENT_VENV=str(stub))
    slurm.clear()


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run directories of a fit and further overrides, done by one process."""
    folder = tmp_path_factory.mktemp("uninterrupted")

    def done(*overrides: str) -> Path:
        return fit_alone(folder / "-".join(("fit", *overrides)), *FINITE, *overrides)

    return done
