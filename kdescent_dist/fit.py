"""The fit loop: many steps per dispatch, and between dispatches checkpoints and callbacks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from kdescent_dist.bounds import Bounds
from kdescent_dist.callbacks import Callback, Event, StopFit
from kdescent_dist.checkpoint import Checkpoints
from kdescent_dist.checks import check_fit
from kdescent_dist.errors import InputError, NonFiniteLossError, Preempted
from kdescent_dist.history import GrowingHistory, History
from kdescent_dist.objective import LossObjective, Objective
from kdescent_dist.random import as_key, fixed_schedule, fold_schedule, unrolled
from kdescent_dist.settings import CheckpointConfig, FitConfig
from kdescent_dist.state import FitState, init_state

KeySchedule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class FitResult:
    """A finished fit.

    Attributes:
        names: parameter names.
        params: (steps + 1, parameters) trial parameters, the guess first and the fit last.
        losses: (steps + 1,) losses at them.
        grad_norms: (steps + 1,) norms of the unbounded gradient.
        state: the final state.
        message: why the fit ended.
    """

    names: tuple[str, ...]
    params: np.ndarray
    losses: np.ndarray
    grad_norms: np.ndarray
    state: FitState
    message: str

    @property
    def final(self) -> dict[str, float]:
        """The final parameters by name."""
        return dict(zip(self.names, self.params[-1].tolist(), strict=True))


def fit(
    objective: Objective,
    guess: Any,
    optimizer: optax.GradientTransformation,
    *,
    bounds: Bounds | Sequence | np.ndarray | jax.Array | None = None,
    names: Sequence[str] | None = None,
    config: FitConfig | None = None,
    seed: int | jax.Array = 0,
    schedule: KeySchedule | None = None,
    checkpoints: Path | str | None = None,
    checkpoint: CheckpointConfig | None = None,
    callbacks: Sequence[Callback] = (),
    stop_requested: Callable[[], bool] = lambda: False,
    samples: int = 0,
) -> FitResult:
    """Descend the gradient of an objective from ``guess``, or continue from a checkpoint.

    The trajectory is a function of the arguments up to ``schedule`` alone: how many steps run in
    a dispatch, restarts and the mesh do not change it.

    Args:
        objective: a ``PopulationObjective``, or a ``LossObjective`` around any loss function.
        guess: (parameters,) starting parameters.
        optimizer: an optax optimizer.
        bounds: bounds, or one ``(low, high)`` or None per parameter.
        names: parameter names, by default ``p0``, ``p1``, ...
        config: number of steps and size of a dispatch.
        seed: seed or random key.
        schedule: keys of the steps, by default a pure function of (seed, step).
        checkpoints: folder of checkpoints, from which an earlier fit is continued; its names,
            guess, bounds, seed, kind of optimizer, model and catalogs must be the same.
        checkpoint: how often to save.
        callbacks: called after each dispatch.
        stop_requested: asked between dispatches; when true the fit saves and raises ``Preempted``.
        samples: model samples per step, for the callbacks.

    Raises:
        InputError: the guess is outside its bounds; the checkpoints are of another fit, or beyond
            the last step.
        Preempted: a stop was requested; the state is saved where there are checkpoints.
        NonFiniteLossError: the loss or its gradient is not finite; the last good state is saved.
    """
    config = config or FitConfig()
    check_fit(config)
    start = np.asarray(guess)
    if not np.issubdtype(start.dtype, np.floating):
        start = start.astype(np.result_type(float))
    start = start.astype(jax.dtypes.canonicalize_dtype(start.dtype))  # float32, unless x64 is on
    names = tuple(names or (f"p{i}" for i in range(len(start))))
    if len(names) != len(start):
        raise InputError(f"names: {len(names)} names for a guess of {len(start)} parameters")
    if not isinstance(bounds, Bounds):
        bounds = Bounds.from_pairs(bounds, len(start))
    bounds.check(start, names)
    if schedule is None:
        schedule = fixed_schedule if config.fixed_key else fold_schedule
    key = as_key(seed)
    state = init_state(start, optimizer, key, objective.mesh, bounds.to_unbounded)
    history = History.empty(len(start), start.dtype)
    saver = None
    if checkpoints is not None:
        identity = {
            "names": list(names),
            "guess": start.tolist(),
            "low": [str(low) for low in bounds.low],  # JSON has no infinity
            "high": [str(high) for high in bounds.high],
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            **objective.identity,
        }
        saver = Checkpoints(Path(checkpoints), checkpoint or CheckpointConfig(), identity)
        restored = saver.restore(state)
        state, history = restored or (state, history)
        if int(state.step) > config.steps:
            saver.close()
            raise InputError(
                f"fit.steps={config.steps}: the fit in {checkpoints} is already at step "
                f"{int(state.step)}; raise it, or choose another folder"
            )
    on_cpu = all(device.platform == "cpu" for device in state.step.devices())
    run = _make_run(objective, optimizer, bounds, schedule, config.steps_per_call, on_cpu)
    loop = _Loop(
        run,
        objective.data,
        config,
        saver,
        callbacks,
        stop_requested,
        samples,
        GrowingHistory(history),
    )
    try:
        return loop.to_the_end(state, names)
    finally:
        if saver is not None:
            saver.close()


def _make_run(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    bounds: Bounds,
    schedule: KeySchedule,
    capacity: int,
    on_cpu: bool,
) -> Callable:
    """Compile up to ``capacity`` steps; how many is a run-time argument, so it compiles once.

    A step whose loss or gradient is not finite is recorded, not taken, and ends the dispatch.
    Without ``moving`` no step is taken: it is one more evaluation.
    """

    def run(state: FitState, count: jax.Array, moving: jax.Array, data: Any) -> tuple:
        record = {
            "params": jnp.zeros((capacity, *state.params.shape), state.params.dtype),
            "loss": jnp.zeros(capacity, state.params.dtype),
            "grad_norm": jnp.zeros(capacity, state.params.dtype),
        }

        def more(carry: tuple) -> jax.Array:
            i, _, _, good = carry
            return (i < count) & good

        def step(carry: tuple) -> tuple:
            i, state, record, _ = carry
            key, next_key = schedule(state.key, state.step)
            params, pull = jax.vjp(bounds.to_bounded, state.params)
            loss, grad = evaluate(objective, params, key, data, on_cpu)
            (grad,) = pull(grad)
            good = jnp.isfinite(loss) & jnp.all(jnp.isfinite(grad))
            record = {
                "params": record["params"].at[i].set(params),
                "loss": record["loss"].at[i].set(loss),
                "grad_norm": record["grad_norm"].at[i].set(jnp.linalg.norm(grad)),
            }
            updates, opt_state = optimizer.update(grad, state.opt_state, state.params)
            moved = FitState(
                state.step + 1, optax.apply_updates(state.params, updates), opt_state, next_key
            )
            take = good & moving
            state = jax.tree.map(lambda new, old: jnp.where(take, new, old), moved, state)
            return i + 1, state, record, good

        done, state, record, good = lax.while_loop(
            more, step, (jnp.int32(0), state, record, jnp.bool_(True))
        )
        return state, record, done, good

    # The objective of a population keeps its bits on any mesh with the products as they are.
    quick = on_cpu and isinstance(objective, LossObjective)
    return jax.jit(run, donate_argnums=0, compiler_options=_known_options() if quick else None)


@cache
def _known_options() -> dict[str, Any] | None:
    """Options that make small matrix products faster on a CPU, where this XLA knows them.

    The library that XLA has for them takes five times as long as a plain loop to correlate the
    normal deviates of a sample of a few dimensions; large products are as fast without it.
    """
    options: dict[str, Any] = {"xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return options


def evaluate(
    objective: Objective, params: jax.Array, key: jax.Array, data: Any, on_cpu: bool
) -> tuple[jax.Array, jax.Array]:
    """Loss and gradient (parameters,) of an objective, with the faster random bits on CPUs."""
    if on_cpu:
        try:
            return objective.value_and_grad(params, unrolled(key), data)
        except (TypeError, ValueError, NotImplementedError):
            pass  # Some of ``jax.random``, and keys that are mixed with others, need JAX's own.
    return objective.value_and_grad(params, key, data)


@dataclass
class _Loop:
    run: Callable
    data: Any
    config: FitConfig
    saver: Checkpoints | None
    callbacks: Sequence[Callback]
    stop_requested: Callable[[], bool]
    samples: int
    history: GrowingHistory

    def to_the_end(self, state: FitState, names: tuple[str, ...]) -> FitResult:
        message, count = "all steps done", 1
        while (step := int(state.step)) < self.config.steps:
            if self.stop_requested():
                self._save(state)
                message = f"stopped on request at step {step}"
                known = self.history.part()
                raise Preempted(message, step, known.params, known.loss)
            state, seconds = self._dispatch(state, count)
            # The first dispatch, of one step, is mostly compilation and tells no speed.
            if (step and seconds > 0) or count > 1:
                count = self._next_count(count, seconds)
            else:
                count = min(2, self.config.steps_per_call)
            try:
                self._tell(state, step, seconds)
            except StopFit as reason:
                message = str(reason) or "stopped by a callback"
                break
            if self.saver is not None and self.saver.due(int(state.step)):
                self.saver.save(state, self.history.part())
        self._save(state)
        return self._result(state, names, message)

    def _next_count(self, count: int, seconds: float) -> int:
        """Steps of the next dispatch: as many as fit into ``seconds_per_call``."""
        fitting = int(count * self.config.seconds_per_call / max(seconds, 1e-9))
        return int(np.clip(fitting, 1, min(self.config.steps_per_call, 4 * count)))

    def _dispatch(self, state: FitState, count: int) -> tuple[FitState, float]:
        begun = time.perf_counter()
        left = self.config.steps - int(state.step)
        state, good = self._run(state, min(count, left), moving=True)
        seconds = time.perf_counter() - begun
        if not good:
            self._fail(state)
        return state, seconds

    def _run(self, state: FitState, count: int, moving: bool) -> tuple[FitState, bool]:
        state, record, done, good = self.run(state, np.int32(count), np.bool_(moving), self.data)
        rows = int(done)
        self.history.append(History(**{k: np.asarray(v)[:rows] for k, v in record.items()}))
        return state, bool(good)

    def _fail(self, state: FitState) -> None:
        self._save(state)
        known = self.history.part()
        step, loss = int(state.step), float(known.loss[-1])
        what = "gradient" if np.isfinite(loss) else "loss"
        raise NonFiniteLossError(
            f"the {what} is not finite at step {step} (loss {loss:g}); the state before it is "
            "kept: lower optimizer.learning_rate, tighten the bounds, or check the model there",
            step,
            known.params,
            known.loss,
        )

    def _tell(self, state: FitState, first: int, seconds: float) -> None:
        new = self.history.part(first)
        event = Event(int(state.step), self.config.steps, first, new, seconds, self.samples)
        for callback in self.callbacks:
            callback(event)

    def _save(self, state: FitState) -> None:
        # Before the first update there is nothing to continue.
        if self.saver is not None and int(state.step) > 0:
            self.saver.save(state, self.history.part())

    def _result(self, state: FitState, names: tuple[str, ...], message: str) -> FitResult:
        # One more evaluation, whose update is not taken, gives the loss at the final parameters.
        state, good = self._run(state, 1, moving=False)
        if not good:
            self._fail(state)
        full = self.history.part()
        return FitResult(names, full.params, full.loss, full.grad_norm, state, message)
