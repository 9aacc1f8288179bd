"""Every test process sees 8 fake CPU devices; a one-device mesh uses the first."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from kdescent_dist.config import registry
from support import rings
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="only tests of scripts/nightly")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", quick_compiler.MARK)
    config.addinivalue_line("markers", rings.SLOW)
    config.addinivalue_line("markers", rings.NIGHTLY)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order of the tests; those that are marked nightly run alone, or if they are named."""
    items.sort(key=rings.order)
    named = any("::" in argument for argument in config.args)
    left = [] if named else [one for one in items if not rings.is_due(one, config.option.nightly)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [one for one in items if one not in set(left)]


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
