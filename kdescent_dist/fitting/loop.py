"""The fit loop: many steps per dispatch, with checkpoints and callbacks between dispatches."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from kdescent_dist.config.errors import InputError, NonFiniteLossError, Preempted, StoppedFitError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import CheckpointConfig, FitConfig
from kdescent_dist.config.validation import check_values
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.answer import answer_of
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.fitting.callbacks import Callback, Event, StopFit
from kdescent_dist.fitting.coordinates import Coordinates
from kdescent_dist.fitting.finish import (
    FINISH_FILE,
    GivenRows,
    KeptFinish,
    can_finish,
    finish,
    finish_of,
    rows_of,
)
from kdescent_dist.fitting.given_parameters import (
    identity_of_parameters,
    parameters_of,
    tell_scales,
)
from kdescent_dist.fitting.history import GrowingHistory, History
from kdescent_dist.fitting.result import FitResult
from kdescent_dist.fitting.shared_checkpoints import SharedCheckpoints
from kdescent_dist.fitting.state import FitState, from_host, init_state, to_host
from kdescent_dist.fitting.steps import KeySchedule, compile_steps
from kdescent_dist.fitting.stops import Stops
from kdescent_dist.identity.code import describe_all
from kdescent_dist.identity.fit_identity import FitIdentity
from kdescent_dist.identity.number_flags import number_flags
from kdescent_dist.identity.versions import versions
from kdescent_dist.numerics.prng import as_key, fixed_schedule, fold_schedule
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.programs import Programs
from kdescent_dist.objective.protocol import Objective
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.linearizer import Linearizer

log = logging.getLogger(__name__)


def fit(
    objective: Objective,
    guess: Parameters | Any,
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
    saved: Callable[[int], None] = lambda step: None,
    samples: int = 0,
    written_out: bool = True,
    problem: Mapping[str, Any] | None = None,
    training: GivenRows | None = None,
) -> FitResult:
    """Minimize an objective from ``guess``, or continue from a checkpoint.

    The trajectory depends only on the arguments up to ``schedule``. The number of steps per
    dispatch, restarts and the mesh do not change the trajectory.

    Args:
        objective: a ``PopulationObjective``, or a ``LossObjective`` around any loss function.
        guess: ``Parameters``; or (parameters,) starting values, with ``bounds`` and ``names``.
        optimizer: an optax optimizer.
        bounds: bounds, or one ``(low, high)`` or None per parameter. A guess on its bound is moved
            inside, see ``config.scales``.
        names: parameter names, by default ``p0``, ``p1``, ...
        config: number of steps, size of a dispatch, and the map of bounded parameters.
        seed: seed or random key.
        schedule: keys of the steps, by default a pure function of (seed, step).
        checkpoints: folder of checkpoints. A fit in the folder is continued; its parameters,
            seed, optimizer, model, loss, bins and catalogs must be the same.
        checkpoint: how often to save.
        callbacks: called after each dispatch.
        stop_requested: called between dispatches; if true, the fit saves and raises ``Preempted``.
        saved: called, in the process that saves, with the step of each checkpoint once the
            checkpoint is complete.
        samples: number of model samples per step, for the callbacks.
        written_out: whether steps use the forms of the loss in ``numerics.fallback``.
        problem: names to values, ready for JSON, for the identity of the fit, in place of
            ``optimizer``, ``schedule`` and the settings of the objective; values at their defaults
            are left out.
        training: columns and weights of the training catalog, which ``loss.kind=gls`` needs, and
            the region numbers of its rows where they cluster. An input catalog counts as another
            catalog.

    After the last step, a finish goes to the minimum of the loss at fixed points, see
    ``fitting.finish``, unless ``config.finish`` is ``none`` or the loss is not one of a population.

    Raises:
        InputError: the guess is outside its bounds, the objective has other parameters, or the
            checkpoints belong to another fit or are beyond the last step.
        CheckpointError: a checkpoint could not be saved, or all checkpoints are damaged.
        Preempted: a stop was requested; the state is saved if there is a folder of checkpoints.
        NonFiniteLossError: the loss or its gradient is not finite; the last good state is saved.
    """
    config = config or FitConfig()
    check_values(config, "fit")
    parameters = parameters_of(guess, bounds, names, objective, config.bounds)
    tell_scales(parameters)
    start, coordinates = parameters.guess, Coordinates.of(parameters, config.bounds)
    rows = rows_of(objective, parameters, training) if config.finish != "none" else None
    if schedule is None:
        schedule = fixed_schedule if config.fixed_key else fold_schedule
    key = as_key(seed)
    program = (optimizer, coordinates.name, str(jax.random.key_impl(key)))
    programs = objective.programs if isinstance(objective, PopulationObjective) else Programs()
    state = init_state(
        *(start, optimizer, key, objective.mesh, coordinates.of_params),
        compiled=lambda make: programs.of(("state", *program), make),
    )
    history = History.empty(len(start), start.dtype)
    saver = identity = None
    processes = Processes.of(objective.mesh)
    if checkpoints is not None:
        checkpoint = checkpoint or CheckpointConfig()
        basics = {
            **identity_of_parameters(parameters, config.bounds),
            "key": np.asarray(jax.random.key_data(key)).tolist(),
        }
        if problem is None:
            told: dict[str, Any] = {"optimizer": optimizer}
            if schedule not in (fold_schedule, fixed_schedule):
                told["schedule"] = schedule
            problem = {**getattr(objective, "settings", {}), **describe_all(told)}
            if schedule is fixed_schedule:
                problem["fit.fixed_key"] = True
            if not written_out:
                problem["runtime.written_out"] = False
        identity = FitIdentity(
            now={**basics, **objective.identity, **number_flags(), **problem},
            before={**basics, **getattr(objective, "identity_before", objective.identity)},
            shipped=getattr(objective, "shipped", ()),
            accept=checkpoint.accept,
            version=versions(["kdescent-dist"])["kdescent-dist"],
        )
        saver = SharedCheckpoints(processes, Path(checkpoints), checkpoint, identity, saved)
    with _completing(saver):
        if saver is not None:
            state, history = saver.restore(state, len(start)) or (state, history)
            if int(state.step):
                log.info("continuing from the checkpoint of step %d", int(state.step))
            if int(state.step) > config.steps:
                raise InputError(
                    f"fit.steps={config.steps}: the fit in {checkpoints} is already at step "
                    f"{int(state.step)}; raise it, or choose another folder"
                )
        device = min(state.step.devices(), key=lambda device: device.id)
        if isinstance(objective, PopulationObjective):
            objective.settle(start, written_out)
        run = programs.of(
            ("steps", *program, schedule, config.steps_per_call, written_out, device),
            lambda: compile_steps(
                *(objective, optimizer, coordinates, schedule, config.steps_per_call),
                *(written_out, device),
            ),
        )
        loop = _Loop(
            run,
            objective.data,
            config,
            processes,
            saver,
            callbacks,
            stop_requested,
            samples,
            GrowingHistory(history),
        )
        result = loop.to_the_end(state, parameters)
        if config.answer != "last":
            known = (result.params, result.losses, loop.loss_at(result.state, coordinates))
            result = replace(result, of_steps=answer_of(config.answer, *known))
    if config.finish == "none" or not can_finish(objective, parameters):
        return result

    def progress() -> None:
        if processes.any(stop_requested()):
            step, known = int(result.state.step), (result.params, result.losses)
            raise Preempted(f"stopped on request in the finish after step {step}", step, *known)

    kept = None
    if checkpoints is not None and identity is not None:
        of = finish_of(
            identity.now, result, objective.config.kind, None if rows is None else rows.training
        )
        kept = KeptFinish(Path(checkpoints) / FINISH_FILE, of, processes)
    fixed_key = schedule is fixed_schedule
    if fixed_key and jax.random.key_impl(key) != jax.random.key_impl(jax.random.key(0)):
        log.info("finish: none, as the key of all steps is of another implementation than others")
        return result
    loss = FixedLoss(objective, parameters, seed, fixed_key, rows)
    linearizer, steps = Linearizer(loss), int(result.state.step)
    end = finish(linearizer, result.arrived, steps=steps, kept=kept, progress=progress)
    return replace(result, finish=end)


@contextmanager
def _completing(saver: SharedCheckpoints | None) -> Iterator[None]:
    """Complete all saves, together if all processes end here, else those of this process."""
    together = True
    try:
        yield
    except BaseException as error:
        together = isinstance(error, StoppedFitError | InputError)
        raise
    finally:
        if saver is not None:
            (saver.complete if together else saver.close)()


@dataclass
class _Loop:
    run: Callable
    data: Any
    config: FitConfig
    processes: Processes
    saver: SharedCheckpoints | None
    callbacks: Sequence[Callback]
    stop_requested: Callable[[], bool]
    samples: int
    history: GrowingHistory
    stops: Stops = field(init=False)

    def to_the_end(self, state: FitState, parameters: Parameters) -> FitResult:
        ending, count = "", 1
        if int(state.step) < self.config.steps:
            state, _ = self._run(state, 0, moving=True)  # compile before the first timed step
        self.stops = Stops(self.config.stop, self.processes)  # whose clock begins here
        if self.saver is not None:
            self.saver.begin()
        while (step := int(state.step)) < self.config.steps:
            ending = ending or self.stops.reason(step, self.history)
            asked, ending, count = self._agreed(ending, count)
            if ending:
                break
            if asked:
                self._save(state)
                message = f"stopped on request at step {step}"
                known = self.history.part()
                raise Preempted(message, step, known.params, known.loss)
            state, seconds = self._dispatch(state, count)
            # The time of the first dispatch, of one step, is not representative.
            if (step and seconds > 0) or count > 1:
                count = self._next_count(count, seconds)
            else:
                count = min(2, self.config.steps_per_call)
            try:
                self._tell(state, step, seconds)
            except StopFit as reason:
                ending = str(reason) or "stopped by a callback"
            if self.saver is not None:
                self.saver.save_if_due(state, self.history.part())
        self._save(state)
        return self._result(state, parameters, ending or "all steps done")

    def _agreed(self, ending: str, count: int) -> tuple[bool, str, int]:
        """Whether any process must stop, the reason why any process ends, and the next count.

        The count of the primary is the number of steps of the next dispatch.
        """
        known = np.array([self.stop_requested(), bool(ending), count], np.int64)
        asked, endings, counts = self.processes.exchange(known).T
        if endings.any():
            ending = next(filter(None, self.processes.gather(ending)))
        return bool(asked.any()), ending, int(counts[0])

    def _next_count(self, count: int, seconds: float) -> int:
        """Number of steps of the next dispatch, to take about ``seconds_per_call``."""
        fitting = int(count * self.config.seconds_per_call / max(seconds, 1e-9))
        return int(np.clip(fitting, 1, min(self.config.steps_per_call, 4 * count)))

    def _dispatch(self, state: FitState, count: int) -> tuple[FitState, float]:
        begun = time.perf_counter()
        step = int(state.step)
        left = min(self.config.steps - step, self.stops.left(step) or count)
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

    def loss_at(
        self, state: FitState, coordinates: Coordinates
    ) -> Callable[[np.ndarray, int], float]:
        """The loss at parameters with the random numbers of a step after the last one."""
        copied, moved = to_host(state), jax.jit(coordinates.of_params)

        def loss(params: np.ndarray, key: int) -> float:
            step = np.int32(self.config.steps + 1 + key)
            there = replace(copied, step=step, params=np.asarray(moved(params)))
            arguments = (from_host(there, state), np.int32(1), np.bool_(False), self.data)
            _, record, _, _ = self.run(*arguments)
            return float(np.asarray(record["loss"])[0])

        return loss

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

    def _result(self, state: FitState, parameters: Parameters, message: str) -> FitResult:
        # One more evaluation, without an update, gives the loss at the final parameters.
        state, good = self._run(state, 1, moving=False)
        if not good:
            self._fail(state)
        full = self.history.part()
        return FitResult(parameters, full.params, full.loss, full.grad_norm, state, message)
