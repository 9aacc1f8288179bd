"""Fits of the problem in ``problems.py``, for the tests of the loop and of its checkpoints."""

import itertools
from collections.abc import Callable
from dataclasses import asdict
from functools import cache

import jax
import jax.numpy as jnp
import optax
import pytest

from kdescent_dist.config.schema import FitConfig
from kdescent_dist.fitting import loop
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.loop import FitResult, fit
from kdescent_dist.fitting.steps import compile_steps
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.population_objective import PopulationObjective
from support import problems

STEPS = 23
ADAM = optax.adam(0.05)
BOUNDS = Bounds.from_pairs(problems.BOUNDS, len(problems.NAMES))


@cache
def bins() -> list:
    return problems.pretrained({"one": problems.GRIDS["one"]})


@cache
def objective(devices: int) -> PopulationObjective:
    return problems.objective(bins(), devices, kernel_blocks=1)


_compiled: dict[tuple, tuple] = {}


def compiled_once(objective, optimizer, coordinates, schedule, *numbers) -> Callable:
    """Steps of the same arguments are compiled once: most of the time of these fits goes there."""
    places = jax.tree.map(lambda values: (values.dtype.str, values.tobytes()), asdict(coordinates))
    form = type(coordinates.map)
    key = (id(objective), id(optimizer), form, str(places), id(schedule), *numbers)
    if key not in _compiled:
        arguments = (objective, optimizer, coordinates, schedule, *numbers)
        _compiled[key] = arguments, compile_steps(*arguments)  # whose ids must stay theirs
    return _compiled[key][1]


def fit_once_compiled(*arguments, **options) -> FitResult:
    """``fit``; with an objective, optimizer and bounds that were there before, nothing compiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_steps", compiled_once)
        return fit(*arguments, **options)


def run(
    devices: int, steps: int = STEPS, steps_per_call: int = 10, settings=None, **options
) -> FitResult:
    """The fit on some devices; ``settings`` are further values of ``FitConfig``."""
    return fit_once_compiled(
        objective(devices),
        problems.GUESS,
        ADAM,
        bounds=BOUNDS,
        names=problems.NAMES,
        config=FitConfig(
            finish="none", steps=steps, steps_per_call=steps_per_call, **(settings or {})
        ),
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


QUADRATIC = LossObjective(quadratic)
UNBOUNDED = Bounds.from_pairs(None, 1)


def run_quadratic(steps: int, **options) -> FitResult:
    """A fit of one parameter, for what does not depend on the loss."""
    config = FitConfig(finish="none", steps=steps)
    return fit_once_compiled(QUADRATIC, [0.0], ADAM, bounds=UNBOUNDED, config=config, **options)
