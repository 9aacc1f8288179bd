"""Fits of the problem in ``problems.py``, for the tests of the loop and of its checkpoints."""

import itertools
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import optax

from kdescent_dist.config.schema import FitConfig
from kdescent_dist.fitting.loop import FitResult, fit
from support import problems

STEPS = 23
ADAM = optax.adam(0.05)


@cache
def bins() -> list:
    return problems.pretrained({"one": problems.GRIDS["one"]})


def run(devices: int, steps: int = STEPS, steps_per_call: int = 10, **options) -> FitResult:
    return fit(
        problems.objective(bins(), devices, kernel_blocks=1),
        problems.GUESS,
        ADAM,
        bounds=problems.BOUNDS,
        names=problems.NAMES,
        config=FitConfig(steps=steps, steps_per_call=steps_per_call),
        **options,
    )


@cache
def straight() -> FitResult:
    """The fit on one device, without a stop."""
    return run(1)


def assert_same_bits(one: FitResult, other: FitResult) -> None:
    for name in ("params", "losses", "grad_norms"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert one.final == other.final


def after(calls: int) -> Callable[[], bool]:
    """A stop request that comes at the given question."""
    counter = itertools.count()
    return lambda: next(counter) >= calls


def quadratic(params, randkey=None, offset=0.0):
    noise = 0.0 if randkey is None else 1e-3 * jax.random.normal(randkey)
    return jnp.sum((params - 1.0 - offset) ** 2) + noise
