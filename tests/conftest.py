"""Every test process sees 8 fake CPU devices; a one-device mesh uses the first."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.config import registry
from support import minima, problems, rings
from support.every_rank import quick_compiler

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# Tests build the same programs many times over; the cache compiles each of them once.
if jax.config.jax_compilation_cache_dir is None:
    folder = Path(__file__).parents[1] / ".pytest_cache/jax"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

if importlib.util.find_spec("hypothesis"):  # not where the newest JAX is tested
    from hypothesis import settings

    settings.register_profile("quick", max_examples=6)  # scripts/test --quick


def pytest_report_header() -> str:
    return f"devices: {jax.device_count()} x {jax.devices()[0].platform}, {os.cpu_count()} cores"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", quick_compiler.MARK)
    config.addinivalue_line("markers", rings.SLOW)
    config.addinivalue_line("markers", rings.NIGHTLY)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the tests."""
    items.sort(key=rings.order)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Choose how programs are compiled, before any fixture of the test is set up."""
    quick_compiler.set_quick(item.get_closest_marker("as_shipped") is None)
    return (yield)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rings.account(terminalreporter, config.rootpath)


@pytest.fixture(scope="session", autouse=True)
def eight_devices() -> None:
    """Fail aloud, rather than pass on one device, where the fake devices did not come up."""
    assert jax.device_count() == 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the tests of a module share."""
    return tmp_path_factory.mktemp("module")


@pytest.fixture(scope="module")
def bins() -> list[PretrainedBin]:
    """The bins of the small problem."""
    return problems.pretrained()


@pytest.fixture(scope="module")
def few_points() -> list[PretrainedBin]:
    """Two bins of the small problem with fewer points, which are all compared."""
    return minima.with_few_points()


@pytest.fixture(scope="module")
def few_populations() -> Iterator[None]:
    """A distance to the minimum is known to 0.3 errors, in place of 0.1."""
    with minima.few_populations():
        yield


@pytest.fixture(scope="module")
def catalog() -> dict[str, np.ndarray]:
    """An input catalog for the small problem."""
    return {"mass": np.random.default_rng(2).uniform(size=problems.SIZE).astype(np.float32)}


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
