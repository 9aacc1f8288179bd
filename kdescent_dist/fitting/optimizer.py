"""An optax optimizer from its config."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdescent_dist.config.dotted_path import import_target
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.registry import Registry
from kdescent_dist.config.schema import OptimizerConfig
from kdescent_dist.fitting.schedules import SCHEDULES

# (learning rate or schedule of learning rates, **options) -> optimizer
Factory = Callable[..., optax.GradientTransformation]

# Optimizers beside those of optax: functions with an attribute ``name``.
OPTIMIZERS: Registry[Factory] = Registry("kdescent_dist.optimizers", ())


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Build the optax chain of a config, for a fit of ``steps`` steps.

    Raises:
        InputError: there is no such optimizer or schedule, or the options are not valid.
    """
    key, factory = find_factory(config)
    taken = inspect.signature(factory).parameters
    rate: Any = learning_rate_schedule(config, steps)
    if not _takes_any(taken):
        allowed = [name for name in taken if name != "learning_rate"]
        for name in config.options:
            if name not in allowed:
                raise InputError(f"optimizer.options.{name}: {closest(name, allowed)}")
    if reason := _failure(factory, rate, config.options):
        if config.options and not _failure(factory, rate, {}):
            raise InputError(f"optimizer.options={config.options}: {reason}")
        if callable(rate) and not _failure(factory, config.learning_rate, config.options):
            reason += " (it needs optimizer.schedule=constant and optimizer.warmup_steps=0)"
        raise InputError(f"{key}: cannot be used here: {reason}")
    optimizer = _made(factory, rate, config.options)
    if config.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    return optimizer


def find_factory(config: OptimizerConfig) -> tuple[str, Factory]:
    """The function that makes the optimizer of a config.

    Returns:
        The config key that names the function, with its value, and the function.

    Raises:
        InputError: there is no such function.
    """
    if config._target_ is not None:
        factory = import_target(config._target_, "optimizer._target_")
        return f"optimizer._target_={config._target_}", factory
    shipped = [name for name in dir(optax) if _is_optimizer(name)]
    if config.name in shipped:
        return f"optimizer.name={config.name}", getattr(optax, config.name)
    known = [*shipped, *OPTIMIZERS.names()]
    if config.name not in known:
        raise InputError(
            f"optimizer.name={config.name}: {closest(config.name, known)}; of optax.contrib or of "
            "your own, name the function in optimizer._target_"
        )
    return f"optimizer.name={config.name}", OPTIMIZERS.find("optimizer.name", config.name)


def learning_rate_schedule(config: OptimizerConfig, steps: int) -> float | optax.Schedule:
    """Learning rate as a function of the step: an optional linear warm-up, then the schedule.

    A constant learning rate is returned as a number: some optax optimizers accept no schedule.

    Raises:
        InputError: there is no such schedule, or the schedule does not take the options.
    """
    if config.schedule == "constant" and not config.warmup_steps:
        return config.learning_rate
    decay = config.decay_steps or max(steps - config.warmup_steps, 1)
    made = SCHEDULES.find("optimizer.schedule", config.schedule)
    peak = config.learning_rate
    try:
        schedule = made.make(peak, config.final_fraction, decay, **config.schedule_options)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"optimizer.schedule_options={config.schedule_options}: {error}"
        ) from error
    if config.warmup_steps:
        warmup = optax.linear_schedule(0.0, peak, config.warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [config.warmup_steps])
    return schedule


def _made(factory: Factory, rate: Any, options: dict[str, Any]) -> optax.GradientTransformation:
    taken = inspect.signature(factory).parameters
    if "learning_rate" in taken or _takes_any(taken):
        return factory(learning_rate=rate, **options)
    return factory(**options)  # such as polyak_sgd, whose step length follows from the loss


def _takes_any(parameters: Any) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _failure(factory: Factory, rate: Any, options: dict[str, Any]) -> str:
    """Why an optimizer cannot be made or cannot update a vector; empty if both work."""
    vector, loss = jnp.zeros(3), jnp.zeros(())
    try:
        optimizer = optax.with_extra_args_support(_made(factory, rate, options))
        state = jax.eval_shape(optimizer.init, vector)

        def update(vector: jax.Array, state: Any, loss: jax.Array) -> Any:
            return optimizer.update(
                vector, state, vector, value=loss, grad=vector, value_fn=lambda v: jnp.sum(v**2)
            )

        updates, after = jax.eval_shape(update, vector, state, loss)
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
    return parameters[:1] == ["learning_rate"] or name == "polyak_sgd"
