"""An optax optimizer from its config."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import OptimizerConfig

SCHEDULES = ("constant", "cosine", "exponential")


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Build the optax chain of a config, for a fit of ``steps`` steps.

    Raises:
        InputError: optax has no such optimizer, or it does not take these options.
    """
    known = [name for name in dir(optax) if _is_optimizer(name)]
    if config.name not in known:
        raise InputError(f"optimizer.name={config.name}: {closest(config.name, known)}")
    factory = getattr(optax, config.name)
    allowed = [name for name in inspect.signature(factory).parameters if name != "learning_rate"]
    for name in config.options:
        if name not in allowed:
            raise InputError(f"optimizer.options.{name}: {closest(name, allowed)}")
    rate = learning_rate_schedule(config, steps)
    if reason := _failure(factory, rate, config.options):
        if config.options and not _failure(factory, rate, {}):
            raise InputError(f"optimizer.options={config.options}: {reason}")
        if callable(rate) and not _failure(factory, config.learning_rate, config.options):
            reason += " (it needs optimizer.schedule=constant and optimizer.warmup_steps=0)"
        raise InputError(f"optimizer.name={config.name}: cannot be used here: {reason}")
    optimizer = factory(rate, **config.options)
    if config.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    return optimizer


def learning_rate_schedule(config: OptimizerConfig, steps: int) -> float | optax.Schedule:
    """Learning rate as a function of the step: an optional linear warm-up, then the schedule.

    A constant one is a number: some optimizers of optax take no function of the step.
    """
    if config.schedule == "constant" and not config.warmup_steps:
        return config.learning_rate
    decay = config.decay_steps or max(steps - config.warmup_steps, 1)
    peak, final = config.learning_rate, config.final_fraction
    if config.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(peak, decay, alpha=final)
    elif config.schedule == "exponential":
        schedule = optax.exponential_decay(peak, decay, final, end_value=peak * final)
    else:
        schedule = optax.constant_schedule(peak)
    if config.warmup_steps:
        warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [config.warmup_steps])
    return schedule


def _failure(factory: Any, rate: Any, options: dict[str, Any]) -> str:
    """Why an optimizer cannot be made or cannot update a vector; empty if it can."""
    vector = jnp.zeros(3)
    try:
        optimizer = factory(rate, **options)
        state = jax.eval_shape(optimizer.init, vector)
        updates, after = jax.eval_shape(optimizer.update, vector, state, vector)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    if _shapes(after) != _shapes(state) or _shapes(updates) != _shapes(vector):
        return "its state changes in shape or type from step to step"
    return ""


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _is_optimizer(name: str) -> bool:
    factory = getattr(optax, name)
    if name.startswith("_") or not inspect.isfunction(factory):
        return False
    parameters = list(inspect.signature(factory).parameters)
    return parameters[:1] == ["learning_rate"]
