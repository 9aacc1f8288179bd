"""The phase ``starts``: short fits from many guesses, of which the best is the guess of the fit."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optax

from kdescent_dist.config.errors import InputError, NonFiniteLossError
from kdescent_dist.config.schema import Config, StopConfig
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.answer import SHARED
from kdescent_dist.fitting.checkpoints import begun_with, latest_step
from kdescent_dist.fitting.loop import fit
from kdescent_dist.fitting.starts import guesses
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.kept_parts import KeptParts
from kdescent_dist.run.phases import Phase

log = logging.getLogger(__name__)


def begun_guess(directory: RunDirectory) -> list[float] | None:
    """The guess (P,) of the fit that was begun in a run directory; None without checkpoints."""
    if latest_step(directory.checkpoints) is None:
        return None
    known = directory.read_json("starts.json")
    best = known["starts"][known["best"]]["params"] if known else None
    return begun_with(directory.checkpoints) or best


def starts_phase(
    config: Config,
    problem: Problem,
    optimizer: optax.GradientTransformation,
    of: Mapping[str, Any],
    directory: RunDirectory,
    progress: Callable[[], None],
) -> Phase[np.ndarray]:
    """Short fits from many guesses; the result is the guess (P,) of the fit.

    Each start takes the first steps of the fit, and ends at the mean of their last tenth. Starts
    are ranked by the mean loss of the same random numbers. They share compiled programs with each
    other and with the fit. Each is saved once it is done. A fit that was begun keeps its guess,
    without further starts. A start outside the support of a prior has no loss.

    Args:
        config: config of the run.
        problem, optimizer: the fit.
        of: identity of the fit.
        directory: the run directory.
        progress: called often, equally often in every process; may raise to stop.
    """
    number, steps = config.fit.starts, min(config.fit.start_steps, config.fit.steps)
    parameters = problem.parameters

    def run(guess: np.ndarray, steps: int, seed: int) -> Any:
        return fit(
            problem.objective,
            replace(parameters, guess=guess),
            optimizer,
            config=replace(
                config.fit, steps=steps, finish="none", answer="average", stop=StopConfig()
            ),
            seed=seed,
            callbacks=[lambda event: progress()],
            written_out=problem.written_out,
        )

    def start(guess: np.ndarray) -> dict[str, Any]:
        if not _has_density(problem, guess):
            return {"guess": guess.tolist(), "params": guess.tolist(), "loss": None}
        try:
            end = run(guess, steps, problem.seed).answer
            # Without steps, the loss at the guess.
            if not _has_density(problem, end):
                return {"guess": guess.tolist(), "params": end.tolist(), "loss": None}
            losses = [run(end, 0, problem.seed + 1 + key).losses[0] for key in range(SHARED)]
            loss = float(np.mean(losses, dtype=float))
        except NonFiniteLossError:
            end, loss = guess, None
        return {"guess": guess.tolist(), "params": end.tolist(), "loss": loss}

    def work(tell: Callable[[int], None]) -> np.ndarray:
        processes = Processes.of(problem.objective.mesh)
        begun = processes.on_primary(lambda: begun_guess(directory))
        if begun is not None:
            log.info("starts: the fit was begun, and keeps its guess")
            tell(number)
            return np.array(begun, parameters.guess.dtype)
        first = parameters.guess.tolist()
        kept = KeptParts(directory, processes, "starts", {**of, "guess": first, "steps": steps})
        spread = processes.on_primary(lambda: guesses(parameters, number, problem.seed))
        done = []
        for i, guess in enumerate(spread):
            progress()
            found = kept.read(i)
            if found is None:
                found = start(guess)
                kept.write(i, found)
            done.append(found)
            tell(i + 1)
        losses = [np.inf if one["loss"] is None else one["loss"] for one in done]
        best = int(np.argmin(losses))
        known = {"names": list(parameters.names), "best": best, "starts": done}
        directory.write_json("starts.json", known)
        log.info("starts: the best of %d is number %d, loss %.5g", number, best + 1, losses[best])
        return np.array(done[best]["params"], parameters.guess.dtype)

    return Phase("starts", work, number)


def _has_density(problem: Problem, params: np.ndarray) -> bool:
    """Whether parameters (P,) are where the density of the prior is above 0."""
    prior = problem.objective.prior
    try:
        if prior is not None:
            prior.check(params)
    except InputError:
        return False
    return True
