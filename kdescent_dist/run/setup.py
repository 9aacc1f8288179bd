"""The setup with which a run has found its answer, for fits of further catalogs.

A run may be continued with other steps, stops or ``loss.kind`` than those of its ``config.yaml``.
So ``result.json`` keeps the setup of the fit that is done.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from kdescent_dist.config.compose import read_config
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import Config, FitConfig, StopConfig
from kdescent_dist.diagnostics.refits import Refits
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.result import FitResult
from kdescent_dist.fitting.stops import BY_TIME
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.prepare import Prepared
from kdescent_dist.run.starts import begun_guess


def setup_of(config: Config, result: FitResult) -> dict[str, Any]:
    """The entry ``setup`` of ``result.json``.

    Args:
        config: config of the run.
        result: the fit that is done.

    Returns:
        Ready for JSON: ``loss.kind``; ``fit``, the section of the config; ``guess``, the parameters
        with which the fit began, by name; and ``steps``, the most steps that a fit of a further
        catalog takes: those that were taken if ``fit.stop.seconds`` has ended them.
    """
    late = result.message.startswith(BY_TIME)
    return {
        "loss.kind": config.loss.kind,
        "fit": asdict(config.fit),
        "guess": result.parameters.named(result.parameters.guess),
        "steps": int(result.state.step) if late else config.fit.steps,
    }


def config_of_answer(directory: RunDirectory) -> Config:
    """The config of a run, with the settings with which its answer was found.

    Raises:
        InputError: there is no config in the run directory, or it cannot be read.
    """
    known, _ = read_config(directory.path / "config.yaml")
    result = directory.result()
    if result.get("status") != "done":
        return known
    if setup := result.get("setup"):
        kind = setup["loss.kind"]
        return replace(known, loss=replace(known.loss, kind=kind), fit=_fit_of(known, setup["fit"]))
    # Of an earlier version.
    steps, finished = result.get("steps"), result.get("finish") is not None
    fit = replace(
        known.fit,
        steps=steps if isinstance(steps, int) else known.fit.steps,
        finish="newton" if finished else "none",
        answer=result.get("answer", known.fit.answer),
    )
    return replace(known, fit=fit)


def _fit_of(config: Config, saved: Mapping[str, Any]) -> FitConfig:
    names = {field.name for field in fields(FitConfig)}
    known = {name: value for name, value in saved.items() if name in names}
    return replace(config.fit, **{**known, "stop": StopConfig(**saved["stop"])})


def refits_as_fitted(
    config: Config,
    prepared: Prepared,
    directory: RunDirectory,
    processes: Processes,
    progress: Callable[[], None] = lambda: None,
) -> Refits:
    """Fits of further catalogs, with the guess and the steps of a run.

    The time does not end their steps: a fit takes as many as the run, see ``setup_of``.

    Args:
        config: config of the run, from ``config_of_answer``.
        prepared: the fit.
        directory: the run directory.
        processes: the processes, which must call this function together.
        progress: see ``Refits``.

    Raises:
        InputError: the guess of the run is not known.
    """
    problem, fit = prepared.problem, config.fit
    setup = processes.on_primary(directory.result).get("setup") or {}
    guess = problem.guess.tolist()
    if setup:
        guess = [setup["guess"][name] for name in problem.parameters.names]
    elif fit.starts > 1:
        guess = processes.on_primary(lambda: begun_guess(directory))
        if guess is None:
            raise InputError(
                f"run_dir={directory.path}: the guess of its fit is lost, as there are no "
                "checkpoints: bring them back from a copy, or repeat the run in another run_dir"
            )
    begun = problem.parameters.with_guess(np.array(guess, problem.guess.dtype))
    steps, stop = min(setup.get("steps", fit.steps), fit.steps), replace(fit.stop, seconds=None)
    return Refits(
        replace(problem, parameters=begun),
        prepared.optimizer,
        replace(fit, steps=steps, stop=stop),
        config.counts.pretrain,
        progress,
    )
