"""The phases after the last step: the finish, errors of the parameters, data for the report."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdescent_dist.diagnostics.comparison import diagnose
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.diagnostics.reported_errors import FAILED, state_errors
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.finish import FINISH_FILE, KeptFinish, can_finish, finish
from kdescent_dist.fitting.result import FitResult
from kdescent_dist.response.newton import NewtonState
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.phases import Phase


def finish_phase(
    problem: Problem,
    result: FitResult,
    of: Mapping[str, Any],
    directory: RunDirectory,
    progress: Callable[[], None],
) -> Phase[NewtonState | None]:
    """Newton steps to the minimum of the loss; the phase keeps its own state in ``checkpoints/``.

    Args:
        problem: the fit.
        result: the fit after the last step.
        of: see ``KeptFinish``.
        directory: the run directory.
        progress: called often; may raise to stop.
    """

    def work(tell: Callable[[int], None]) -> NewtonState | None:
        if not can_finish(problem.objective, problem.parameters):
            return None
        processes = Processes.of(problem.objective.mesh)
        kept = KeptFinish(directory.checkpoints / FINISH_FILE, of, processes)
        start, steps = result.arrived, int(result.state.step)
        return finish(problem.linearizer, start, steps=steps, kept=kept, progress=progress)

    return Phase("finish", work)


def errors_phase(
    problem: Problem,
    final: np.ndarray,
    of: Mapping[str, Any],
    directory: RunDirectory,
    progress: Callable[[], None],
) -> Phase[dict[str, Any]]:
    """The errors of the parameters, for ``result.json``, and their covariance in an npz file.

    After a failure, a later start retries.

    Args:
        problem: the fit.
        final: (P,) fitted parameters.
        of: identity of the fit and of these parameters, see ``Phase.of``.
        directory: the run directory.
        progress: called often; may raise to stop.
    """

    def work(tell: Callable[[int], None]) -> dict[str, Any]:
        found, covariance = state_errors(problem, final, progress)
        if covariance is not None:
            directory.write_arrays("covariance", covariance.to_arrays())
        return found

    def keep(found: dict[str, Any]) -> bool:
        return not found["errors_note"].startswith(FAILED)

    return Phase("errors", work, of=of, files=("covariance",), keep=keep)


def comparison_phase(
    problem: Problem,
    final: np.ndarray,
    samples: int,
    of: Mapping[str, Any],
    directory: RunDirectory,
    progress: Callable[[], None],
) -> Phase[dict[str, Any]]:
    """The comparison of guess and fit with the data, in ``diagnostics.npz`` of a run directory.

    Args:
        problem, final, of, progress: see ``errors_phase``.
        samples: number of samples of each population to save for plots.
        directory: the run directory.
    """

    def work(tell: Callable[[int], None]) -> dict[str, Any]:
        arrays = diagnose(problem, final, samples=samples, progress=progress)
        directory.write_arrays("diagnostics", arrays)
        return {}

    # Early versions computed other errors.
    of = {**of, "samples": samples, "errors": "of normalized counts"}
    return Phase("comparison", work, of=of, files=("diagnostics",))
