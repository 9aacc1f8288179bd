"""Errors and convergence of fitted parameters, for result and report.

If the computation fails, only errors and convergence are missing.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from kdescent_dist.config.errors import StoppedFitError, listed
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.report.data.covariance import ParameterCovariance
from kdescent_dist.response.covariance import parameter_covariance
from kdescent_dist.response.distance import (
    NEAR,
    SHOWN,
    Distance,
    Populations,
    distance_to_minimum,
    far_from_minimum,
    is_converged,
)
from kdescent_dist.response.goodness import goodness_of_fit

log = logging.getLogger(__name__)

AT_BOUND = 0.01  # errors from a bound within which the finish may have left a parameter
NEGLIGIBLE = 1e-6  # error from noise, as a fraction of the error if loss.custom were a prior
NOISY = 0.3  # part of the variance of a parameter from the random numbers of populations
FAILED = "none: "  # prefix of the note if errors could not be computed


def state_errors(
    problem: Problem, params: np.ndarray, progress: Callable[[], None]
) -> tuple[dict[str, Any], ParameterCovariance | None]:
    """Compute the errors of fitted parameters (P,), for ``result.json`` and ``covariance.npz``.

    Args:
        problem: the fit.
        params: (P,) fitted parameters.
        progress: called often, equally often in every process.

    Returns:
        Entries of ``result.json``, of which a value is None if there is no error; and the
        covariance of the parameters that have an error, None if the computation fails:

        - ``errors``: names of parameters to standard deviations;
        - ``errors_note``: the included noise and the missing errors, as text;
        - ``covariance``: see ``ParameterCovariance.to_json``;
        - ``distance``: names of parameters to the expected change of the parameter to the minimum
          of the loss, in errors of the parameter; and ``distance_noise``;
        - ``converged``: whether all determined parameters are at the minimum; and
          ``converged_note``, which parameters are not, as text;
        - ``goodness``: ``chi_square``, ``degrees`` of freedom and ``p_value``; and ``acceptable``,
          whether the model describes the training catalog.

    Raises:
        StoppedFitError: ``progress`` raised it.
    """
    parameters, names = problem.parameters, problem.parameters.names
    unknown: dict[str, Any] = {
        "errors": dict.fromkeys(names),
        "covariance": None,
        "distance": dict.fromkeys(names),
        "distance_noise": dict.fromkeys(names),
        "converged": None,
        "converged_note": "",
        "goodness": None,
        "acceptable": None,
    }
    try:
        at = problem.linearizer.at(params, progress=progress)
        populations = Populations(at.whole, params, progress=progress)
        covariance = parameter_covariance(at, progress)
        errors = np.sqrt(np.diagonal(covariance))
        distance = distance_to_minimum(at, errors, populations)
        held = populations.agreed(_held(params, errors, distance, parameters))
        if held.any():
            at = at.with_free(~held & ~parameters.fixed)
            covariance = parameter_covariance(at, progress)
            errors = np.sqrt(np.diagonal(covariance))
            distance = distance_to_minimum(at, errors, populations)
        goodness = goodness_of_fit(at, populations, progress)
    except StoppedFitError:
        raise
    except Exception as error:
        log.warning("no errors of the parameters: %s", error, exc_info=True)
        return unknown | {"errors_note": f"{FAILED}{type(error).__name__}: {error}"}, None
    by_rows = errors
    # Far from the minimum, the noise of the distance is larger than asked for near it.
    away, noise = distance.in_errors(by_rows)
    farthest = float(np.max(np.abs(away[np.isfinite(away)]), initial=0.0))
    is_near = populations.agreed(farthest <= NEAR)
    if is_near:
        covariance = covariance + distance.covariance
        errors = np.sqrt(np.diagonal(covariance))
        away, noise = distance.in_errors(errors)
    note = includes = _included(problem)
    if fixed := parameters.fixed_names:
        note += f"; fixed: {', '.join(fixed)}"
    lost = ~np.isfinite(errors) & ~held & ~parameters.fixed
    alone = np.zeros(len(errors), bool)
    if at.pull is not None:
        alone = np.isfinite(by_rows) & (by_rows <= NEGLIGIBLE * at.rough_errors())
    for which, what in (
        (held, "held by a bound"),
        (lost, "not determined by the loss"),
        (alone, "determined by loss.custom alone, which states no noise"),
    ):
        if named := [name for name, one in zip(names, which, strict=True) if one]:
            note += f"; {what}: {', '.join(named)}"
            log.warning("no errors of parameters %s: %s", what, ", ".join(named))
    for part, what in (
        (noise**2 * is_near, "mostly too large, as too few populations tell where the minimum is"),
        (at.noise_of_derivatives, "uncertain, as derivatives of the model are noisy"),
    ):
        which = np.isfinite(errors) & (part > NOISY)
        if named := [name for name, one in zip(names, which, strict=True) if one]:
            note += f"; {what}: {listed(named, SHOWN)}"
    if told := far_from_minimum(names, away, noise):
        note += "; not converged: they say nothing of the distance to the minimum of the loss"
    if goodness is not None and not goodness.acceptable:
        note += "; the model does not describe the data: they say nothing of how wrong it is"
    stated = np.flatnonzero(np.isfinite(errors) & ~alone)
    known = ParameterCovariance(
        tuple(names[i] for i in stated),
        params[stated].astype(float),
        covariance[np.ix_(stated, stated)],
        includes,
    )
    return {
        "errors": parameters.named(_known(np.where(alone, np.nan, errors))),
        "errors_note": note,
        "covariance": known.to_json(),
        "distance": parameters.named(_known(away)),
        "distance_noise": parameters.named(_known(noise)),
        "converged": not told and bool(np.isfinite(away).any()),
        "converged_note": told,
        "goodness": None if goodness is None else asdict(goodness),
        "acceptable": None if goodness is None else goodness.acceptable,
    }, known


def _known(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _held(
    params: np.ndarray, errors: np.ndarray, distance: Distance, parameters: Parameters
) -> np.ndarray:
    """Whether a bound holds each parameter (P,).

    The bound is near, and closer than the error; and the minimum of the loss is not on the inner
    side of the parameter.
    """
    to_low, to_high = params - parameters.low, parameters.high - params
    near = np.array(parameters.near_bounds(params)) != ""
    near |= np.minimum(to_low, to_high) < AT_BOUND * errors
    away, noise = distance.in_errors(errors)
    inward = np.where(to_low < to_high, away, -away)
    inside = ~is_converged(away, noise) & (inward > 0)
    return near & np.isfinite(errors) & (np.minimum(to_low, to_high) < errors) & ~inside


def _included(problem: Problem) -> str:
    counts = [c for pretrained in problem.bins for c in pretrained.statistics.values()]
    parts = ["the training catalog"] if problem.training.rows.total else []
    if problem.training.regions is not None:
        parts[0] += f" (a jackknife over {problem.training.regions.count} regions)"
    if any(one.given for one in counts):
        parts.append("the counts that are given")
    if problem.objective.data["catalog"]:
        same = ", which is the same" if problem.input_rows is not None else ""
        parts.append(f"the input catalog{same}")
    if problem.fixed_key:
        parts.append("the random numbers of the fit")
    if problem.objective.prior is not None:
        parts.append("the priors")
    return f"noise of {' and of '.join(parts)}"
