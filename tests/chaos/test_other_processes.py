"""A run that is stopped by a signal goes on with other processes and devices."""

import shutil
import signal
from pathlib import Path

import pytest

from support.process_groups import TWO_DEVICES, Group, alone, assert_same_fit, result

pytestmark = pytest.mark.as_shipped


@pytest.fixture(scope="module")
def straight(folder) -> Path:
    """An uninterrupted run in one process on one device."""
    alone(folder / "straight", cwd=folder)
    return folder / "straight"


@pytest.fixture(scope="module")
def interrupted(folder, straight) -> Path:
    """A run that was stopped on two processes with two devices each."""
    directory = folder / "interrupted"
    with Group(directory, 2, TWO_DEVICES, cwd=folder) as group:
        group.wait_for_steps(50)
        group.processes[0].send_signal(signal.SIGUSR1)
        assert [code for code, _ in group.ends()] == [75, 75]
    assert 50 <= result(directory)["step"] < 400
    return directory


@pytest.mark.parametrize(("processes", "devices"), [(4, 1), (1, 1), (1, 8)])
def test_a_run_continues_on_other_processes_and_devices(
    processes, devices, folder, straight, interrupted
):
    directory = shutil.copytree(interrupted, folder / f"{processes}x{devices}")
    if processes == 1:
        alone(directory, cwd=folder, devices=devices)
    else:
        settings = f"runtime.cpu_devices={devices}"
        with Group(directory, processes, settings, cwd=folder) as group:
            assert [code for code, _ in group.ends()] == [0] * processes
    assert_same_fit(directory, straight)
    found = result(directory)
    assert found["devices"]["count"] == processes * devices
    assert found["devices"]["processes"] == processes


def test_another_problem_is_refused_with_the_differences(folder, interrupted):
    with Group(interrupted, 2, TWO_DEVICES, "seed=1", cwd=folder) as group:
        (first, told), (second, silent) = group.ends()
    assert (first, second) == (2, 2)
    assert "config.seed: 0 (default) -> 1" in told
    assert "kdescent-dist:" not in silent
