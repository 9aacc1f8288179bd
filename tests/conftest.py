"""Ring 1 and 2: every test process sees 8 fake CPU devices; a one-device mesh uses the first."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# Tests build the same programs many times over; the cache compiles each of them once.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache/jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_report_header() -> str:
    return f"devices: {jax.device_count()} x {jax.devices()[0].platform}, {os.cpu_count()} cores"


@pytest.fixture(scope="session", autouse=True)
def eight_devices() -> None:
    """Fail aloud, rather than pass on one device, where the fake devices did not come up."""
    assert jax.device_count() == 8
