"""The text of a report: the verdict, the tables, and the facts of the run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.report.data.labels import DASH, chisq, describe, duration, number, plain_label
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.data.statistics import in_words, statistics_of

SHARED_ROWS = (
    "The model is made from rows of the training catalog: both share some noise, so that a perfect "
    "model has less than 1."
)


def verdict(run: Run) -> list[str]:
    """The outcome of the fit, in sentences."""
    sentences = [_status_sentence(run.result), *_finish_sentence(run.result)]
    sentences += [*_distance_sentence(run), *_goodness_sentence(run.result)]
    sentences += [*_posterior_sentences(run.result), *_loss_sentence(run)]
    if run.bins:
        sentences.append(_chisq_sentence(run.bins))
        if run.config.input.columns and run.config.input.catalog is None:
            sentences.append(SHARED_ROWS)
        sentences += _numbers_sentence(run.bins)
    if near := [row["name"] for row in parameter_rows(run) if row["near"]]:
        what = "parameter ends" if len(near) == 1 else "parameters end"
        named = ", ".join(near if len(near) <= 8 else [*near[:7], "..."])
        sentences.append(f"{len(near)} {what} within 1% of a bound: {named}.")
    return sentences


def _status_sentence(result: Mapping[str, Any]) -> str:
    step, steps = result.get("step", "?"), result.get("steps", "?")
    message = str(result.get("message") or "").strip().rstrip(".")
    match result.get("status"):
        case "done":
            return f"The fit is done: {step} of {steps} steps."
        case "preempted":
            return (
                f"The fit was stopped at step {step} of {steps} and is saved: "
                "start the run again to continue it."
            )
        case "failed":
            return f"The fit failed at step {step} of {steps}" + (
                f": {message}." if message else "."
            )
        case "running":
            return f"The fit is running: {step} of {steps} steps were done when this was written."
        case None:
            return "The run has not written a result."
        case other:
            return f"Status of the fit: {other}, {step} of {steps} steps."


def _finish_sentence(result: Mapping[str, Any]) -> list[str]:
    known = result.get("finish")
    if not known:
        return []
    steps = known.get("steps")
    sentence = f"The finish took {steps} Newton step{'' if steps == 1 else 's'}"
    if losses := known.get("losses"):
        sentence += f", from a loss at fixed points of {losses[0][0]:.5g} to {losses[-1][1]:.5g}"
    if (message := known.get("message")) != "at the minimum":
        sentence += f", and ended early: {message}"
    if held := known.get("held"):
        sentence += f". A bound holds {', '.join(held)}"
    return [f"{sentence}."]


def _distance_sentence(run: Run) -> list[str]:
    match run.result.get("converged"):
        case True:
            return ["All parameters are at the minimum of the loss, within their errors."]
        case False:
            away = {n: d for n, d in (run.result.get("distance") or {}).items() if d is not None}
            worst = max(away, key=lambda name: abs(away[name]))
            return [
                f"The fit has not converged: to the minimum of the loss, {worst} would move by "
                f"{away[worst]:+.2g} of its errors."
            ]
    return []


def _goodness_sentence(result: Mapping[str, Any]) -> list[str]:
    known = result.get("goodness")
    if not known:
        return []
    numbers = (
        f"chi-square {known['chi_square']:.4g} with the full covariance, of {known['degrees']} "
        f"degrees of freedom, p = {known['p_value']:.2g}"
    )
    if result.get("acceptable"):
        return [f"The model describes the data ({numbers})."]
    return [f"The model does not describe the data ({numbers}): its errors do not tell how wrong."]


def _posterior_sentences(result: Mapping[str, Any]) -> list[str]:
    known = result.get("posterior")
    if not known:
        return []
    found = [one["ess_bulk"] for one in known["params"].values() if one["ess_bulk"] is not None]
    least = f", at least {number(min(found), 3)} effective ones" if found else ""
    first = f"The posterior has {known['chains']} chains of {known['draws']} draws{least}."
    return [first, *(f"Posterior: {text}." for text in known["warnings"])]


def _loss_sentence(run: Run) -> list[str]:
    losses = run.history.loss if run.history else np.empty(0)
    final = run.result.get("loss")
    if final is None:
        final = losses[-1] if losses.size else None
    if final is None:
        return []
    if not np.isfinite(final):
        return [f"The last loss is {final}."]
    if losses.size < 2 or not np.isfinite(losses[0]):
        return [f"The final loss is {number(final, 3)}."]
    first = float(losses[0])
    verb = "fell" if final < first else "rose"
    text = f"The loss {verb} from {number(first, 3)} at the guess to {number(final, 3)}"
    if final > 0 and first > final:
        text += f", {number(first / final, 3)} times lower"
    last = losses[-max(1, losses.size // 10) :]
    last = last[np.isfinite(last)]
    if last.size >= 5:
        text += f"; its median over the last tenth of the steps is {number(np.median(last), 3)}"
    return [text + "."]


def _chisq_sentence(bins: Sequence[Bin]) -> str:
    parts = []
    for statistic, members in statistics_of(bins).items():
        what = in_words(statistic)
        values = {name: found.chisq("fit") for name, found in members.items()}
        values = {name: value for name, value in values.items() if np.isfinite(value)}
        if not values:
            continue
        guess = [found.chisq("guess") for found in members.values()]
        guess = np.median([g for g in guess if np.isfinite(g)] or [np.nan])
        before = f" (at the guess {chisq(guess)})"
        if len(values) == 1:
            parts.append(f"{what} {chisq(next(iter(values.values())))}{before}")
            continue
        worst = max(values, key=values.__getitem__)
        parts.append(
            f"{what} median {chisq(np.median(list(values.values())))}{before}, "
            f"worst {chisq(values[worst])} in {worst}"
        )
    bins_of = f"{len(bins)} bins" if len(bins) > 1 else "the bin"
    if not parts:
        return f"No residual of {bins_of} has an error above 0."
    return f"Reduced chi-square of {bins_of}: {'; '.join(parts)}."


def _numbers_sentence(bins: Sequence[Bin]) -> list[str]:
    offsets = {b.name: b.ratio - 1.0 for b in bins if np.isfinite(b.ratio)}
    if not offsets:
        return []
    worst = max(offsets, key=lambda name: abs(offsets[name]))
    amount = f"{number(100 * abs(offsets[worst]), 2)}% {'above' if offsets[worst] > 0 else 'below'}"
    if len(offsets) == 1:
        return [f"The weight of the model in {worst} is {amount} that of the data."]
    return [f"The weight of the model in a bin is at most {amount} that of the data ({worst})."]


def parameter_rows(run: Run) -> list[dict[str, Any]]:
    """One row per parameter, in the order of the config."""
    fitted = run.result.get("params") or {}
    scatter = run.result.get("scatter") or {}
    errors = run.result.get("errors") or {}
    distances = run.result.get("distance") or {}
    rows = []
    ends = run.parameters.near_bounds([fitted.get(name, np.nan) for name in run.parameters.names])
    for (name, parameter), near in zip(run.parameters.by_name().items(), ends, strict=True):
        fit, truth = fitted.get(name), parameter.truth
        offset = fit - truth if fit is not None and truth is not None else None
        error = errors.get(name)
        in_errors = offset / error if offset is not None and error else None
        label = plain_label(parameter.label) if parameter.label else ""
        rows.append(
            {
                "name": name,
                "label": label if label != name else "",
                "guess": number(parameter.guess),
                "fit": number(fit),
                "error": number(error, 2),
                "distance": DASH if (d := distances.get(name)) is None else f"{d:+.2f}",
                "scatter": number(scatter.get(name), 2),
                "low": number(parameter.low),
                "high": number(parameter.high),
                "truth": number(truth),
                "offset": number(offset, 3),
                "in_errors": DASH if in_errors is None else f"{in_errors:+.1f}",
                "near": near,
                "fixed": parameter.fixed,
            }
        )
    return rows


def phase_rows(run: Run) -> list[dict[str, str]]:
    """One row per phase of the run, in order; empty for a run of an earlier version."""
    later = run.result.get("continued") or {}
    return [
        {
            "name": name,
            "status": str(one.get("status")),
            "done": f"{one.get('done', 0):,} of {one.get('parts', 0):,}",
            "time": duration(one.get("seconds", 0.0)),
            "starts": str(one.get("starts", 0)),
        }
        for name, one in (later.get("phases") or run.result.get("phases") or {}).items()
    ]


def facts(run: Run) -> list[tuple[str, str]]:
    """The circumstances of the run, as names and values."""
    result, config = run.result, run.config
    catalog = result.get("catalog") or {}
    later = result.get("continued") or {}
    entries = {
        "status": result.get("status"),
        "steps": f"{result['step']} of {result.get('steps', '?')}" if "step" in result else None,
        "seed": result.get("seed", config.seed),
        "samples per step": result.get("samples", config.samples.size),
        "wall time": duration(result["wall_s"]) if result.get("wall_s") is not None else None,
        "devices": result.get("devices"),
        "versions": result.get("versions"),
        "catalog": catalog.get("source"),
        "rows used": catalog.get("rows"),
        "rows dropped": (catalog.get("dropped") or "none") if catalog else None,
        "run directory": run.directory.name,
        "message": result.get("message"),
        "continued since": {n: later[n] for n in ("status", "step", "steps") if n in later},
    }
    return [(k, describe(v)) for k, v in entries.items() if v not in (None, "", {})]
