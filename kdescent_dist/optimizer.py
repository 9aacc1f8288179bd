"""An optax optimizer from its config."""

import inspect

import optax

from kdescent_dist.config import OptimizerConfig, closest
from kdescent_dist.errors import InputError


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
    optimizer = factory(learning_rate_schedule(config, steps), **config.options)
    if config.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    return optimizer


def learning_rate_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate as a function of the step: an optional linear warm-up, then the schedule."""
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


def _is_optimizer(name: str) -> bool:
    factory = getattr(optax, name)
    if name.startswith("_") or not inspect.isfunction(factory):
        return False
    parameters = list(inspect.signature(factory).parameters)
    return parameters[:1] == ["learning_rate"]
