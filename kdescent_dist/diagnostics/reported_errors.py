"""Errors of fitted parameters for result and report; if they fail, only the errors are missing."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from kdescent_dist.config.errors import StoppedFitError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.diagnostics.covariance import parameter_errors
from kdescent_dist.diagnostics.problem import Problem

log = logging.getLogger(__name__)

FAILED = "none: "  # prefix of the note if errors could not be computed


def state_errors(
    problem: Problem, params: np.ndarray, progress: Callable[[], None]
) -> dict[str, Any]:
    """Compute the errors of fitted parameters (P,), for ``result.json``.

    Args:
        problem: the fit.
        params: (P,) fitted parameters.
        progress: called often, equally often in every process.

    Returns:
        ``errors``, names of parameters to standard deviations, or to None if there is no error;
        and ``errors_note``, the included noise and the missing errors, as text.

    Raises:
        StoppedFitError: ``progress`` raised it.
    """
    parameters, names = problem.parameters, problem.parameters.names
    unknown: dict[str, Any] = {"errors": dict.fromkeys(names)}

    def covariance(free: np.ndarray | None = None) -> np.ndarray:
        return parameter_errors(problem, params, free=free, progress=progress)

    try:
        errors = np.sqrt(np.diagonal(covariance()))
        held = _held(params, errors, parameters)
        if held.any():
            errors = np.sqrt(np.diagonal(covariance(~held & ~parameters.fixed)))
    except StoppedFitError:
        raise
    except Exception as error:
        log.warning("no errors of the parameters: %s", error, exc_info=True)
        return unknown | {"errors_note": f"{FAILED}{type(error).__name__}: {error}"}
    note = _included(problem)
    if fixed := [name for name, one in parameters.named(parameters.fixed).items() if one]:
        note += f"; fixed: {', '.join(fixed)}"
    lost = ~np.isfinite(errors) & ~held & ~parameters.fixed
    for which, what in ((held, "held by a bound"), (lost, "not determined by the loss")):
        if named := [name for name, one in zip(names, which, strict=True) if one]:
            note += f"; {what}: {', '.join(named)}"
            log.warning("no errors of parameters %s: %s", what, ", ".join(named))
    known = [float(error) if np.isfinite(error) else None for error in errors]
    return {"errors": parameters.named(known), "errors_note": note}


def _held(params: np.ndarray, errors: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Whether a bound holds each parameter (P,): the bound is near, and closer than the error."""
    near = np.array(parameters.near_bounds(params)) != ""
    return near & (np.minimum(params - parameters.low, parameters.high - params) < errors)


def _included(problem: Problem) -> str:
    counts = [c for pretrained in problem.bins for c in pretrained.statistics.values()]
    parts = ["the training catalog"] if problem.training.rows.total else []
    if any(one.given for one in counts):
        parts.append("the counts that are given")
    if problem.objective.data["catalog"]:
        same = ", which is the same" if problem.input_rows is not None else ""
        parts.append(f"the input catalog{same}")
    if problem.fixed_key:
        parts.append("the random numbers of the fit")
    return f"noise of {' and of '.join(parts)}"
