"""A run, from its config to its report."""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdescent_dist.bins.further import Found
from kdescent_dist.config.errors import (
    CheckpointError,
    InputError,
    NonFiniteLossError,
    NotConvergedError,
    Preempted,
    SaveError,
    StoppedFitError,
)
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.schema import Config
from kdescent_dist.distributed import runtime
from kdescent_dist.distributed.launchers import find_launch
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.signals import StopSignals
from kdescent_dist.distributed.watchdog import Watchdog
from kdescent_dist.fitting.callbacks import Callback, Event, Metrics, ProgressBar
from kdescent_dist.fitting.checkpoints import latest_step
from kdescent_dist.fitting.finish import finish_of
from kdescent_dist.fitting.loop import fit
from kdescent_dist.fitting.result import FitResult
from kdescent_dist.identity.versions import versions
from kdescent_dist.report import require_plots
from kdescent_dist.response.newton import NewtonState
from kdescent_dist.run.after_fit import comparison_phase, errors_phase, finish_phase
from kdescent_dist.run.clock import RunClock
from kdescent_dist.run.coverage import config_of_run, cover, lock_of
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.first_guess import with_guess_of_run
from kdescent_dist.run.inspection import inspect_run
from kdescent_dist.run.logs import logging_to
from kdescent_dist.run.phases import Phase, PhaseStore
from kdescent_dist.run.posterior import posterior_phase
from kdescent_dist.run.prepare import Prepared, first_parameters, prepare
from kdescent_dist.run.report import draw_report, report_only
from kdescent_dist.run.result import (
    phases_of,
    saved_step,
    told,
    with_lost_rows,
    with_phases,
    with_saved_step,
)
from kdescent_dist.run.setup import setup_of
from kdescent_dist.run.starts import begun_guess, starts_phase
from kdescent_dist.run.validate import check

log = logging.getLogger(__name__)

# Errors that need no traceback.
EXPECTED = (InputError, CheckpointError, StoppedFitError, NotConvergedError, OSError)


def run(config: Config) -> dict[str, Any]:
    """Start or continue a run in its run directory.

    Returns:
        The contents of ``result.json``.

    Raises:
        InputError: the config or the input is not valid.
        Preempted: a signal asked the run to stop; its state is saved.
        NonFiniteLossError: the loss is not finite; the last good state is saved.
        CheckpointError: checkpoints cannot be written, or are lost or damaged.
    """
    found = check(config)
    config = with_guess_of_run(config)
    directory = RunDirectory.of(config)
    launch = find_launch(config.runtime, os.environ)
    if config.mode == "coverage":
        config = config_of_run(config, directory)
        found = check(config)
    if config.mode == "report":
        return report_only(config, directory) if launch.process == 0 else {}
    own = directory.path / "logs" / f"process-{launch.process}.txt"
    logs = logging_to(
        directory.path / "log.txt",
        own if config.runtime.process_logs else None,
        is_primary=launch.process == 0,
    )
    watchdog = None
    with StopSignals().installed() as signals, logs:
        try:
            if config.report.enabled and config.mode != "inspect":
                require_plots()
            cache = _cache(config, directory)
            directory.begin()
            watchdog = runtime.start(config.runtime, cache, directory.tell, launch)
            signals.install()
            processes = Processes.with_devices(jax.devices())
            with directory.opened(config, processes, lock_of(config)):
                return _Run(config, found, directory, processes, signals, watchdog).carry_out()
        except Exception as error:
            expected = isinstance(error, EXPECTED)
            alone = isinstance(error, SaveError)  # only the process that saves raises it
            log.error("%s", error, exc_info=not expected)
            if watchdog is not None:
                watchdog.leave(error, expected=expected and not alone)
            raise


class _Run:
    def __init__(
        self,
        config: Config,
        found: Found,
        directory: RunDirectory,
        processes: Processes,
        signals: StopSignals,
        watchdog: Watchdog | None,
    ) -> None:
        self.config = config
        self.found = found
        self.directory = directory
        self.processes = processes
        self.signals = signals
        self.watchdog = watchdog
        self.before = directory.result()
        self.clock = RunClock(self.before, directory.metrics)
        self.parameters = Parameters.of_config(config.parameters)
        self.prepared: Prepared | None = None
        self.told: dict[str, Any] = {}  # contents of result.json
        self.phases = PhaseStore(directory, processes, phases_of(self.before), self._tell_phases)
        self.trial: dict[str, Any] = {}  # parameters and loss of the last step
        self.done = False  # whether the fit is done
        if watchdog is not None:
            watchdog.record = self._record

    def carry_out(self) -> dict[str, Any]:
        if self.config.mode == "inspect":
            return self._inspect()
        if self.config.mode == "coverage":
            return self._cover()
        try:
            prepared = self._prepare()
        except Preempted as stop:
            self._write_result("preempted", message=str(stop))
            raise
        self.directory.claim(self.config)
        self._write_result("running")
        try:
            prepared = self._with_best_start(prepared)
            steps = Phase("steps", lambda tell: self._fit(prepared, tell), self.config.fit.steps)
            result = self.phases.run(steps)
            if self.config.fit.finish != "none":
                result = replace(result, finish=self.phases.run(self._newton(result, prepared)))
            self._finish(result)
            self.done = True
        except StoppedFitError as stop:
            status = "preempted" if isinstance(stop, Preempted) else "failed"
            self._write_result(status, message=str(stop), step=stop.step, **self._last(stop))
            raise
        except Exception as error:
            self._tell_failure(error)
            raise
        # The fit is done, even if what follows fails.
        settings = self.config.report
        if settings.errors or settings.enabled:
            self._diagnose(result, prepared)
        if self.config.mode == "posterior":
            if self._is_refused():
                log.warning("posterior: not drawn, as fit.require_converged refuses the fit")
            else:
                self._sample(result, prepared)
        if settings.enabled:
            self._progress("drawing the report")
            path = self.directory.path
            self.processes.on_primary(lambda: draw_report(path, settings))
        log.info("status: done, step %d, loss %.5g", self.told["step"], self.told["loss"])
        self._tell_convergence()
        if self.watchdog is not None:
            self.watchdog.close()
        return self.told

    def _tell_convergence(self) -> None:
        converged, note = self.told.get("converged"), self.told.get("converged_note")
        if converged:
            log.info("converged: all parameters are at the minimum of the loss")
        elif converged is False:
            log.warning("not converged: %s", note)
        if self.told.get("acceptable") is False:
            log.warning("not acceptable: the model does not describe the data: %s", self._p_value())
        if self._is_refused():
            raise NotConvergedError(
                f"fit.require_converged: {note or 'the distance to the minimum is not known'}; the "
                f"result is in {self.directory.path}; raise fit.steps, and start the run again"
            )

    def _is_refused(self) -> bool:
        """Whether the fit has not converged, and the config requires so."""
        return self.config.fit.require_converged and not self.told.get("converged")

    def _p_value(self) -> str:
        known = self.told["goodness"]
        return "chi-square {chi_square:.4g} of {degrees} degrees, p {p_value:.2g}".format(**known)

    def _tell_failure(self, error: Exception) -> None:
        # A full disk must not hide the error itself.
        with contextlib.suppress(OSError):
            if isinstance(error, InputError) and self.before:
                self.directory.write_result(self.before)  # as if the run had not been started
            else:
                kind = "" if isinstance(error, CheckpointError) else f"{type(error).__name__}: "
                self._write_result("failed", message=f"{kind}{error}", **self.trial)

    def _inspect(self) -> dict[str, Any]:
        """Inspect the fit, without claiming the run directory or changing its result."""
        prepared = self._prepare()
        self._progress("inspecting")
        inspect_run(self.config, self.directory, self.processes, prepared.problem, prepared.facts)
        if self.watchdog is not None:
            self.watchdog.close()
        return self.directory.result()

    def _cover(self) -> dict[str, Any]:
        """Fit simulated catalogs of a finished fit, without changing its result."""
        self.done = True
        prepared = self._prepare()

        def progress(phase: str) -> None:
            self._progress(phase)
            self._stop_if_asked(f"in {phase}; repeats that are done are kept")

        cover(self.config, prepared, self.directory, self.processes, progress)
        if self.watchdog is not None:
            self.watchdog.close()
        return self.directory.result()

    def _progress(self, phase: str) -> None:
        if self.watchdog is not None:
            self.watchdog.progress(phase)

    def _prepare(self) -> Prepared:
        config = self.config
        if config.fit.guess_from is not None:
            log.info("guess: the parameters of %s", config.fit.guess_from)
        parameters = first_parameters(config)  # first, an invalid guess is reported
        if config.mode not in ("inspect", "coverage"):
            self.processes.on_primary(self._refuse_lost_checkpoints)
        step = latest_step(self.directory.checkpoints) or 0
        # The answer of a coverage may be older than the checkpoint.
        if step > config.fit.steps and config.mode != "coverage":
            raise InputError(
                f"fit.steps={config.fit.steps}: the fit in {self.directory.path} is already at "
                f"step {step}; raise it, or choose another run_dir"
            )

        def begin(phase: str) -> None:
            self._progress(phase)
            self._stop_if_asked()

        self._stop_if_asked()
        self.prepared = prepare(
            config, parameters, self.directory, self.processes, begin, self.phases, self.found
        )
        self._stop_if_asked()
        return self.prepared

    def _refuse_lost_checkpoints(self) -> None:
        if latest_step(self.directory.checkpoints) is not None:
            return
        told = f"result.json tells of one of step {saved_step(self.before)}"
        if not saved_step(self.before):
            if not self.directory.has_arrays("history"):
                return
            told = "history.npz is that of a finished fit"
        stands = "The answer in result.json stands. " if self.before.get("params") else ""
        raise CheckpointError(
            f"{self.directory.checkpoints}: there is no checkpoint, but {told}. {stands}Bring it "
            "back from a copy; or, to fit from the beginning, choose another run directory or "
            "remove this one"
        )

    def _stop_if_asked(
        self,
        where: str = "before the first step",
        known: FitResult | None = None,
    ) -> None:
        if self.processes.any(self.signals.requested()):
            message = f"stopped by {self.signals.received or 'a signal'} {where}"
            if known is not None:
                raise Preempted(message, int(known.state.step), known.params, known.losses)
            step = latest_step(self.directory.checkpoints) or 0
            raise Preempted(message, step, np.zeros((0, len(self.parameters))), np.zeros(0))

    def _fit(self, prepared: Prepared, tell: Callable[[int], None]) -> FitResult:
        config, problem = self.config, prepared.problem
        step = latest_step(self.directory.checkpoints) or 0
        tell(step)
        self._progress("compiling")
        callbacks: list[Callback] = [self._tell_progress]
        is_primary = self.processes.is_primary
        bar = ProgressBar(config.fit.steps, step, config.runtime.progress if is_primary else False)
        if is_primary:
            callbacks += [bar, Metrics(self.directory.metrics)]

        def saved(step: int) -> None:
            self.told = with_saved_step(self.told, step)
            tell(step)

        try:
            result = fit(
                problem.objective,
                problem.parameters,
                prepared.optimizer,
                config=replace(config.fit, finish="none"),  # which is a phase of its own
                seed=config.seed,
                checkpoints=self.directory.checkpoints,
                checkpoint=config.checkpoint,
                callbacks=callbacks,
                stop_requested=self.signals.requested,
                saved=saved,
                samples=problem.objective.layout.size,
                written_out=problem.written_out,
                problem=prepared.told,
            )
            tell(int(result.state.step))
            return result
        finally:
            bar.close()

    def _with_best_start(self, prepared: Prepared) -> Prepared:
        """The fit, with the best of many starts as its guess."""

        def begun() -> bool:
            known = (self.directory.path / "starts.json").is_file()
            return known and begun_guess(self.directory) is not None

        if self.config.fit.starts == 1 and not self.processes.on_primary(begun):
            return prepared

        def progress() -> None:
            self._progress("short fits from many guesses")
            self._stop_if_asked("in the short fits from many guesses; those that are done are kept")

        problem = prepared.problem
        phase = starts_phase(
            *(self.config, problem, prepared.optimizer, prepared.identity, self.directory),
            progress,
        )
        parameters = replace(problem.parameters, guess=self.phases.run(phase))
        self.prepared = replace(prepared, problem=replace(problem, parameters=parameters))
        return self.prepared

    def _newton(self, result: FitResult, prepared: Prepared) -> Phase[NewtonState | None]:
        problem = prepared.problem
        return finish_phase(
            problem,
            result,
            finish_of(prepared.identity, result, self.config.loss.kind, problem.training),
            self.directory,
            self._watched("finishing the fit", "in the finish", result),
        )

    def _watched(self, phase: str, where: str, result: FitResult) -> Callable[[], None]:
        """A function that tells the watchdog of a phase, and raises if a signal has arrived."""

        def progress() -> None:
            self._progress(phase)
            self._stop_if_asked(where, result)

        return progress

    def _tell_progress(self, event: Event) -> None:
        self._progress(f"fitting after step {event.step}")
        if len(event.history):
            self.trial = {
                "params": self.parameters.named(event.history.params[-1]),
                "loss": float(event.history.loss[-1]),
            }

    def _tell_phases(self) -> None:
        if self.told:  # nothing is written before all input has been checked
            self.told = with_phases(self.told, self.phases.records)
            self.directory.write_result(self.told)

    def _finish(self, result: FitResult) -> None:
        history = {
            "step": np.arange(len(result.losses)),
            "loss": result.losses,
            "grad_norm": result.grad_norms,
            "params": result.params,
            "names": np.array(result.names),
        }
        if np.isnan(result.losses).any():
            history = with_lost_rows(history, self.directory.read_arrays("history"))
        self.directory.write_arrays("history", history)
        last = history["params"][-max(len(result.params) // 10, 2) :]
        last = last[np.isfinite(last).all(axis=1)]
        scatter = last.std(axis=0).tolist() if len(last) > 1 else [None] * len(self.parameters)
        fixed = self.parameters.fixed
        scatter = [None if held else one for held, one in zip(fixed, scatter, strict=True)]
        self._write_result(
            "done",
            message=result.message,
            step=int(result.state.step),
            params=result.final,
            answer=self.config.fit.answer,
            setup=setup_of(self.config, result),
            finish=None if result.finish is None else result.finish.summary(),
            scatter=self.parameters.named(scatter),
            loss=float(result.losses[-1]),
        )

    def _diagnose(self, result: FitResult, prepared: Prepared) -> None:
        """Compute the errors and the data of the report.

        A signal stops the computation, and the next start does the rest.
        """
        problem, settings = prepared.problem, self.config.report
        final, of = result.answer, self._of_answer(result, prepared)
        where = "after the fit, before its report"
        progress = self._watched("computing errors and what the report shows", where, result)
        progress()
        if settings.errors:
            of_errors = {**of, **problem.training.digest_of_regions()}
            errors = errors_phase(problem, final, of_errors, self.directory, progress)
            found = self.phases.run(errors)
            self.told |= found
            self.directory.write_result(self.told)
        if settings.enabled:
            directory, samples = self.directory, settings.samples
            self.phases.run(comparison_phase(problem, final, samples, of, directory, progress))

    def _sample(self, result: FitResult, prepared: Prepared) -> None:
        """Draw from the posterior; a signal stops the chains, and the next start goes on."""
        progress = self._watched("drawing from the posterior", "in the posterior", result)
        if self.told.get("converged") is False:
            log.warning("posterior: of a fit that has not converged: its covariance may be wrong")
        regions = prepared.problem.training.digest_of_regions()
        of = {**self._of_answer(result, prepared), **regions}
        phase = posterior_phase(
            prepared.problem, result.answer, self.config.posterior, of, self.directory, progress
        )
        try:
            found = self.phases.run(phase)
        except StoppedFitError:
            raise
        except FloatingPointError as error:
            raise NonFiniteLossError(
                f"posterior: {error}; the fit stands in {self.directory.path}: see where the model "
                "is not finite near the fitted parameters, or set bounds that leave this out",
                *(int(result.state.step), result.params, result.losses),
            ) from error
        self.told |= {"posterior": found}
        self.directory.write_result(self.told)

    def _of_answer(self, result: FitResult, prepared: Prepared) -> dict[str, Any]:
        """The identity of the fitted parameters, for what is computed of them."""
        step, final = int(result.state.step), result.answer
        of = {**prepared.identity, "step": step, "params": final.tolist()}
        return {**of, "loss.kind": self.config.loss.kind}

    def _last(self, stop: StoppedFitError) -> dict[str, Any]:
        """The last trial with a finite loss of a stopped fit."""
        finite = np.flatnonzero(np.isfinite(stop.losses))
        if not len(finite):
            return {}
        return {
            "params": self.parameters.named(stop.params[finite[-1]]),
            "loss": float(stop.losses[finite[-1]]),
        }

    def _record(self, reason: str) -> None:
        """Write that the run failed; the watchdog calls this from any thread."""
        if not self.done:
            self.phases.end("failed")
            self.directory.write_last_result(self._result("failed", message=reason))

    def _write_result(self, status: str, **known: Any) -> None:
        self.told = self._result(status, **known)
        self.directory.write_result(self.told)

    def _result(self, status: str, **known: Any) -> dict[str, Any]:
        prepared = self.prepared
        now = {
            "status": status,
            "step": latest_step(self.directory.checkpoints) or 0,
            "steps": self.config.fit.steps,
            "name": self.config.name,
            "seed": self.config.seed,
            "params": None,
            "loss": None,
            **self.clock.times(),
            "versions": {**versions(), **(prepared.packages if prepared else {})},
            **(prepared.facts if prepared else {}),
            "phases": self.phases.records,
            **known,
        }
        return told(self.before, now)


def _cache(config: Config, directory: RunDirectory) -> Path | None:
    return directory.path.absolute() / "cache" if config.runtime.compilation_cache else None
