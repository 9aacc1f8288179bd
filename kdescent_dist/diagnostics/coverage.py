"""Bias, scatter and coverage of the stated errors, from fits of catalogs whose truth is known."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.config.priors.uniform import Uniform
from kdescent_dist.diagnostics.problem import Problem

# Half-widths of intervals in stated errors, and how often a normal distribution is within.
INTERVALS = {"68": (1.0, 0.6827), "95": (1.96, 0.95)}
SURE = 3.0  # Monte Carlo errors beyond which a difference is told


def names_with_prior(problem: Problem) -> tuple[str, ...]:
    """The parameters whose stated errors include a prior; a uniform one acts as bounds alone."""
    prior = problem.objective.prior
    each = () if prior is None else prior.priors
    return tuple(problem.parameters.names[i] for i, one in each if not isinstance(one, Uniform))


def notes_of(problem: Problem) -> list[str]:
    """What the coverage of a fit does not measure, as sentences."""
    notes = []
    if problem.training.regions is not None:
        notes.append(
            "the rows of simulated catalogs are independent, without catalog.regions: the table is "
            "that of errors of independent rows, and tells nothing of errors from regions"
        )
    if names := names_with_prior(problem):
        notes.append(
            f"parameters with a prior ({', '.join(names)}) are not judged, and do not count in the "
            "row all: the prior is a measurement in the stated errors, but the same in all fits"
        )
    return notes


def summarize(
    truth: Mapping[str, float],
    fits: Sequence[Mapping[str, Any]],
    of_priors: Collection[str] = (),
) -> dict[str, Any]:
    """Compare fits with the truth.

    Every pair of numbers is a value and its Monte Carlo error. Of a fraction k / n, the error is
    the root of p (1 - p) / (n + 4), with p = (k + 2) / (n + 4) (Agresti and Coull 1998). The error
    of a fraction that is pooled over parameters is that of the mean over the fits, in which
    parameters are correlated.

    Args:
        truth: names of parameters to their true values.
        fits: results of ``Refits.fit``.
        of_priors: names of the parameters that have a prior, which are not judged.

    Returns:
        Ready for JSON:

        - ``truth``: the true values;
        - ``fits``, ``failed``, ``converged``, ``acceptable``: numbers of fits;
        - ``parameters``: for each parameter with errors, ``truth``; ``fits``, the number of fits
          that state an error; ``bias``; ``scatter``, the standard deviation; ``stated``, the root
          mean square of the stated errors; ``scatter_over_stated``; ``within_68`` and
          ``within_95``; and ``prior``, whether the parameter has a prior;
        - ``pooled``: ``within_68`` and ``within_95`` of all fits and all parameters without a
          prior, and ``converged_within_68`` of the fits that converged.
    """
    known = [one for one in fits if "failed" not in one]
    parameters = {}
    for name, value in truth.items():
        pairs = [(one["params"][name], one["errors"].get(name)) for one in known]
        pairs = [(found, error) for found, error in pairs if error]
        if len(pairs) > 1:
            found = _of_parameter(value, *np.transpose(pairs))
            parameters[name] = {**found, "prior": name in of_priors}
    converged = [one for one in known if one["converged"]]
    judged = {name: value for name, value in truth.items() if name not in of_priors}
    pooled = {f"within_{level}": _pooled(judged, known, level) for level in INTERVALS}
    pooled["converged_within_68"] = _pooled(judged, converged, "68")
    return {
        "truth": dict(truth),
        "fits": len(fits),
        "failed": len(fits) - len(known),
        "converged": len(converged),
        "acceptable": sum(bool(one["acceptable"]) for one in known),
        "parameters": parameters,
        "pooled": pooled,
    }


def _of_parameter(truth: float, found: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    number = len(found)
    scatter, stated = float(np.std(found, ddof=1)), float(np.sqrt(np.mean(errors**2)))
    # The relative error of a standard deviation of n normal numbers.
    relative = 1 / np.sqrt(2 * (number - 1))
    z = np.abs(found - truth) / errors
    return {
        "truth": truth,
        "fits": number,
        "bias": [float(np.mean(found) - truth), scatter / float(np.sqrt(number))],
        "scatter": [scatter, scatter * relative],
        "stated": stated,
        "scatter_over_stated": [scatter / stated, scatter / stated * relative],
        **{
            f"within_{level}": _fraction(int(np.sum(z < width)), number)
            for level, (width, _) in INTERVALS.items()
        },
    }


def _fraction(found: int, number: int) -> list[float]:
    likely = (found + 2) / (number + 4)
    return [found / number, float(np.sqrt(likely * (1 - likely) / (number + 4)))]


def _pooled(
    truth: Mapping[str, float], fits: Sequence[Mapping[str, Any]], level: str
) -> list[float] | None:
    """The fraction of all pairs of fit and parameter, and its error; None without any."""
    width, _ = INTERVALS[level]
    inside, number = [], []
    for one in fits:
        stated = {name: one["errors"].get(name) for name in truth}
        stated = {name: error for name, error in stated.items() if error}
        within = [abs(one["params"][n] - truth[n]) < width * error for n, error in stated.items()]
        inside.append(sum(within))
        number.append(len(within))
    total = sum(number)
    if not total:
        return None
    fraction = sum(inside) / total
    # The linearized ratio of two sums (Cochran 1977), at least that of a single pair.
    apart = np.array(inside) - fraction * np.array(number)
    return [fraction, max(float(np.sqrt(np.sum(apart**2))) / total, 1 / (total + 4))]


def table(summary: Mapping[str, Any]) -> list[str]:
    """The lines of a table, for a log."""
    heads = ("bias", "scatter/stated", "68% covers", "95% covers")
    rows: list[tuple[str, ...]] = [("", *heads)]
    for name, one in summary["parameters"].items():
        rows.append(
            (
                f"{name} (prior)" if one["prior"] else name,
                "{:+.2g} +- {:.1g}".format(*one["bias"]),
                "{:.2f} +- {:.2f}".format(*one["scatter_over_stated"]),
                _percent(one["within_68"]),
                _percent(one["within_95"]),
            )
        )
    pooled = summary["pooled"]
    rows.append(("all", "", "", _percent(pooled["within_68"]), _percent(pooled["within_95"])))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    counts = "{fits} fits: {converged} converged, {acceptable} acceptable, {failed} failed"
    return [counts.format(**summary), *lines]


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """What is wrong with the errors of each parameter beyond its Monte Carlo error.

    Parameters that have a prior are left out.
    """
    told = []
    for name, one in summary["parameters"].items():
        if one["prior"]:
            continue
        (ratio, noise), (bias, of_bias) = one["scatter_over_stated"], one["bias"]
        if abs(ratio - 1) > SURE * noise:
            size = "too small" if ratio > 1 else "too large"
            told.append(
                f"the errors of {name} are {size}: the scatter is {ratio:.2f} +- {noise:.2f} "
                "of them"
            )
        if abs(bias) > SURE * of_bias:
            told.append(
                f"{name} is biased by {bias / one['stated']:+.2f} +- "
                f"{of_bias / one['stated']:.2f} stated errors"
            )
    return told


def _percent(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{100 * pair[0]:.0f} +- {100 * pair[1]:.0f}%"
