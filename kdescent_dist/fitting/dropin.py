"""The drop-in optimizers ``adam`` and ``bfgs``, for any loss and without a run directory.

``adam`` uses the map of bounds of diffopt and no scales of parameters: it gives the numbers of
diffopt. ``bfgs`` gives the bounds to SciPy.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import FitConfig
from kdescent_dist.distributed.mesh import default_mesh
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.callbacks import ProgressBar
from kdescent_dist.fitting.loop import fit
from kdescent_dist.numerics.prng import as_key, chain_schedule, fixed_schedule, is_default
from kdescent_dist.numerics.threefry import split
from kdescent_dist.objective.evaluate import evaluate
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.protocol import Objective

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

_STEPS_PER_CALL = 1000


def adam(
    lossfunc: Callable[..., jax.Array],
    guess: Any,
    nsteps: int = 100,
    param_bounds: Sequence | np.ndarray | jax.Array | None = None,
    learning_rate: Any = 0.01,
    randkey: int | jax.Array | None = 1,
    const_randkey: bool = False,
    thin: int = 1,
    progress: bool = True,
    optimizer: optax.GradientTransformation | None = None,
    **other_kwargs: Any,
) -> tuple[jax.Array, jax.Array]:
    """Minimize a loss with Adam or another optax optimizer.

    Each call compiles the loss. To reuse the compiled program in all calls and scripts, for any
    number of steps, guess and seed, set a cache folder of JAX before any computation::

        jax.config.update("jax_compilation_cache_dir", "/some/folder")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

    Args:
        lossfunc: ``lossfunc(params, randkey=key, **other_kwargs) -> scalar``, differentiable and
            compilable by JAX.
        guess: (parameters,) starting parameters.
        nsteps: number of updates.
        param_bounds: one ``(low, high)`` or None per parameter; None or infinite for no bound.
        learning_rate: learning rate, or an optax schedule.
        randkey: seed or key; None for a loss without a ``randkey`` argument.
        const_randkey: pass the same key at every step.
        thin: return every ``thin``-th step; 0 for the last step only.
        progress: show a progress bar.
        optimizer: an optax optimizer to use in place of ``optax.adam(learning_rate)``.
        **other_kwargs: passed on to ``lossfunc``.

    Returns:
        Trial parameters (nsteps + 1, parameters) and their losses (nsteps + 1,), thinned; with
        ``thin=0``, the last trial parameters (parameters,) and their loss ().

    Raises:
        InputError: the guess is outside its bounds, or a bound is reversed.
        NonFiniteLossError: the loss or its gradient is not finite; carries the earlier steps.
    """
    if nsteps < 0 or thin < 0:
        raise InputError(f"nsteps={nsteps} and thin={thin} must not be negative")
    key = as_key(0 if randkey is None else randkey)
    # As in diffopt, the first key of this split starts the chain, the second is the constant key.
    key, constant_key = _halves(key)
    bar = ProgressBar(nsteps, show=None if progress else False)
    # A ``KCalc`` in the loss uses all local devices. If the first state were on other devices, the
    # program would be compiled twice.
    mesh = default_mesh()
    try:
        result = fit(
            LossObjective(lossfunc, other_kwargs, with_key=randkey is not None, mesh=mesh),
            _plain(guess, param_bounds),
            optax.adam(learning_rate) if optimizer is None else optimizer,
            # The program does not depend on the number of steps, so that a cached program fits.
            config=FitConfig(
                steps=nsteps, steps_per_call=_STEPS_PER_CALL, bounds="arctan", finish="none"
            ),
            seed=constant_key if const_randkey else key,
            schedule=fixed_schedule if const_randkey else chain_schedule,
            callbacks=[bar],
        )
    finally:
        bar.close()
    kept = _thinned(nsteps, thin)
    params, losses = jnp.asarray(result.params[kept]), jnp.asarray(result.losses[kept])
    return (params, losses) if thin else (params[-1], losses[-1])


def _plain(guess: Any, param_bounds: Any) -> Parameters:
    """The parameters without scales, as in diffopt."""
    parameters = Parameters.of_vector(guess, None, param_bounds)
    return replace(parameters, scale=np.ones(len(parameters)))


def _halves(key: jax.Array) -> Sequence[jax.Array]:
    """``jax.random.split(key)``, without compilation for the default type of key."""
    if not is_default(key):
        return list(jax.random.split(key))
    halves = split(np.asarray(jax.random.key_data(key)))
    return [jax.random.wrap_key_data(jnp.asarray(half)) for half in halves]


def _thinned(nsteps: int, thin: int) -> list[int]:
    """Steps to return: the guess, and the last step of each stretch of ``thin`` steps after it."""
    stretch = thin or max(nsteps, 1)
    kept: list[int] = []
    for step in range(nsteps + 1):
        if (step - 1) % stretch == 0 or not kept:
            kept.append(step)
        else:
            kept[-1] = step
    return kept


def bfgs(
    lossfunc: Callable[..., jax.Array] | Objective,
    guess: Any,
    maxsteps: int = 100,
    param_bounds: Sequence | np.ndarray | jax.Array | None = None,
    randkey: int | jax.Array | None = None,
    thin: int = 1,
    progress: bool = True,
    **other_kwargs: Any,
) -> "tuple[jax.Array, jax.Array, OptimizeResult]":
    """Minimize a loss with L-BFGS-B (Byrd et al. 1995), with a constant random key.

    Args:
        lossfunc: a loss as in ``adam``, called with the constant ``randkey``, or without a key if
            ``randkey`` is None; or an objective, such as a ``PopulationObjective``.
        guess: (parameters,) starting parameters.
        maxsteps: largest number of iterations.
        param_bounds: one ``(low, high)`` or None per parameter; the guess may be on a bound.
        randkey: seed or key; for an objective, None means seed 0.
        thin: return every ``thin``-th iteration; 0 for the last iteration only.
        progress: show a progress bar.
        **other_kwargs: passed on to ``lossfunc``.

    Returns:
        Parameters (iterations, parameters) and losses (iterations,), thinned, and the
        ``scipy.optimize.OptimizeResult``.

    Raises:
        InputError: the guess is outside its bounds, a bound is reversed, or an objective is given
            with other options.
    """
    # Imported here: the import is slow, and most programs do not need it.
    from scipy.optimize import minimize

    start = np.asarray(guess, float)
    bounds = Bounds.from_pairs(param_bounds, len(start))
    start = _inside(start, bounds, np.asarray(guess).dtype)
    objective = _objective(lossfunc, other_kwargs, with_key=randkey is not None)
    key = as_key(0 if randkey is None else randkey)
    on_cpu = jax.default_backend() == "cpu"

    @jax.jit
    def value_and_grad(params: jax.Array, key: jax.Array, data: Any) -> tuple:
        return evaluate(objective, params, key, data, on_cpu)

    def loss_and_grad(params: np.ndarray) -> tuple[float, np.ndarray]:
        loss, grad = value_and_grad(jnp.asarray(params), key, objective.data)
        return float(loss), np.asarray(grad, float)

    params: list[np.ndarray] = []
    losses: list[float] = []
    disable = None if progress else True
    with tqdm(total=maxsteps, desc="bfgs", unit="step", disable=disable) as bar:

        def record(intermediate_result: "OptimizeResult") -> None:
            params.append(np.array(intermediate_result.x))
            losses.append(float(intermediate_result.fun))
            bar.set_postfix(loss=f"{losses[-1]:.4g}", refresh=False)
            bar.update()

        result = minimize(
            loss_and_grad,
            start,
            method="L-BFGS-B",
            jac=True,
            bounds=list(zip(bounds.low, bounds.high, strict=True)),
            options={"maxiter": maxsteps},
            callback=record,
        )
    if not params:  # the guess is already a minimum, and the only trial
        params, losses = [np.array(result.x)], [float(result.fun)]
    kept = _thinned(len(params) - 1, thin)
    rows, values = jnp.asarray(np.array(params)[kept]), jnp.asarray(np.array(losses)[kept])
    return (rows, values, result) if thin else (rows[-1], values[-1], result)


def _objective(
    lossfunc: Callable[..., jax.Array] | Objective, options: dict[str, Any], with_key: bool
) -> Objective:
    if not hasattr(lossfunc, "value_and_grad"):
        return LossObjective(cast(Callable[..., jax.Array], lossfunc), options, with_key)
    if options:
        raise InputError(f"{', '.join(options)}: an objective takes no other options")
    return cast(Objective, lossfunc)


def _inside(guess: np.ndarray, bounds: Bounds, dtype: np.dtype) -> np.ndarray:
    """Check a guess against closed bounds; a guess equal to a rounded bound moves to the bound."""
    rounded = dtype if np.issubdtype(dtype, np.floating) else np.float64
    at_low = guess == bounds.low.astype(rounded)
    at_high = guess == bounds.high.astype(rounded)
    start = np.where(at_low, bounds.low, np.where(at_high, bounds.high, guess))
    # Bounds.check requires open intervals: check the nearest number inside the bounds.
    inwards = np.where(at_low, np.inf, np.where(at_high, -np.inf, start))
    bounds.check(np.nextafter(start, inwards), [f"p{i}" for i in range(len(start))])
    return start
