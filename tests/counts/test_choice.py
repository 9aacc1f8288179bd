"""Which backend ``auto`` is on a device, and what becomes of a backend that fails there."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from kdescent_dist.counts import backends
from kdescent_dist.counts.choice import FEWEST, backend_on, fault_of
from kdescent_dist.counts.fused import FusedBackend
from kdescent_dist.distributed.mesh import make_mesh
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.objective import chosen_backend as chosen
from kdescent_dist.objective.chosen_backend import chosen_backend


def gpu(capability: str) -> SimpleNamespace:
    return SimpleNamespace(platform="gpu", compute_capability=capability)


@pytest.mark.parametrize(
    ("device", "samples", "dtype", "expected"),
    [
        (SimpleNamespace(platform="cpu"), FEWEST, np.float32, "tiled"),
        (gpu("9.0"), FEWEST, np.float32, "pallas"),
        (gpu("10.0"), FEWEST, np.float32, "pallas"),
        (gpu("9.0"), FEWEST - 1, np.float32, "fused"),
        (gpu("9.0"), FEWEST, np.float64, "fused"),
        (gpu("8.0"), FEWEST, np.float32, "fused"),
        (gpu("gfx942"), FEWEST, np.float32, "fused"),
        (SimpleNamespace(platform="tpu"), FEWEST, np.float32, "fused"),
    ],
)
def test_the_fastest_backend_of_a_device(device, samples, dtype, expected):
    assert backend_on("auto", device, samples, dtype) == expected


@pytest.mark.parametrize("backend", ["tiled", "fused", "pallas"])
def test_backends_are_right_on_this_machine(backend):
    assert fault_of(backend, jax.devices()[0]) is None


class OneSampleLost(FusedBackend):
    def over_samples(self, pairs, x, weights, moments):
        return super().over_samples(pairs, x, weights.at[0].set(0), moments)


class WrongGradient(FusedBackend):
    def over_kernels(self, pairs, x, weights, rows, finish):
        return super().over_kernels(pairs, x, weights, [2 * row for row in rows], finish)


class Refused(FusedBackend):
    def over_samples(self, pairs, x, weights, moments):
        raise NotImplementedError("no such layout\nand more")


FAULTS = {
    OneSampleLost: "the sum is off by ",
    WrongGradient: "the gradient in samples is off by ",
    Refused: "NotImplementedError: no such layout",
}


@pytest.fixture(params=FAULTS)
def broken(request, monkeypatch) -> Iterator[str]:
    """What is said of a backend ``pallas`` that fails in one of these ways."""
    own = {"cpu": request.param(), "cuda": request.param()}
    monkeypatch.setitem(backends._BY_PLATFORM, "pallas", own)
    forget()
    yield FAULTS[request.param]
    forget()


def forget() -> None:
    """Forget what was traced with another backend of the name."""
    jax.clear_caches()
    fault_of.cache_clear()


def test_a_backend_that_fails_is_told_by_its_fault(broken):
    fault = fault_of("pallas", jax.devices()[0])
    assert fault is not None
    assert fault.startswith(broken)
    assert "\n" not in fault


@pytest.mark.parametrize("asked", ["auto", "pallas"])
def test_a_fit_takes_fused_where_pallas_fails_and_says_so_in_a_line(
    asked, broken, monkeypatch, caplog
):
    monkeypatch.setattr(chosen, "backend_on", lambda *_: "pallas")
    mesh = make_mesh(2)
    with caplog.at_level(logging.WARNING):
        found = chosen_backend(asked, mesh, FEWEST, np.float32, Processes.of(mesh))
    assert found == "fused"
    (line,) = caplog.messages
    assert line.startswith("counts.backend: fused takes the place of pallas, whose kernels fail on")
    assert broken in line


def test_a_fit_takes_the_fastest_backend_where_it_is_right(monkeypatch, caplog):
    monkeypatch.setattr(chosen, "backend_on", lambda *_: "pallas")
    mesh = make_mesh(2)
    found = chosen_backend("auto", mesh, FEWEST, np.float32, Processes.of(mesh))
    assert found == "pallas"
    assert not caplog.messages


def test_a_backend_that_is_asked_for_is_taken():
    mesh = make_mesh(1)
    for backend in ("tiled", "fused"):
        found = chosen_backend(backend, mesh, FEWEST, np.float32, Processes.of(mesh))
        assert found == backend
