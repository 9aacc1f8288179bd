"""An inspection as text: a summary for the terminal, with the parameters and warnings."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdescent_dist.report.data.inspection import Inspection
from kdescent_dist.report.data.labels import chisq, duration, number, some_names
from kdescent_dist.report.data.records import Bin, ranked
from kdescent_dist.report.data.statistics import in_words, statistics_of
from kdescent_dist.report.pages.inspection_warnings import warnings_of

MOST_ROWS = 24  # most parameters on the terminal


def summary(inspection: Inspection) -> list[str]:
    """The lines for the terminal: the fit, its cost, and warnings."""
    lines = [f"inspection of {inspection.config.name}"]
    lines += [f"  {name:<11}{text}" for name, text in facts(inspection)]
    rows = parameter_rows(inspection)
    lines.append(f"  {'parameter':<22}{'guess':>11}{'low':>11}{'high':>11}{'gradient':>24}")
    for row in rows[:MOST_ROWS]:
        name, *values = (row[key] for key in ("name", "guess", "low", "high"))
        line = f"  {name:<22}" + "".join(f"{value:>11}" for value in values)
        lines.append(f"{line}{row['gradient']:>24}{'  <-' if row['flag'] else ''}")
    if len(rows) > MOST_ROWS:
        lines.append(f"  and {len(rows) - MOST_ROWS} more parameters, in inspect.html")
    lines += [f"warning: {text}" for text in warnings_of(inspection)] or ["no warnings"]
    return lines


def facts(inspection: Inspection) -> list[tuple[str, str]]:
    """Names and sentences about catalogs, bins, model, time and memory."""
    found = inspection.facts
    lines = [("catalog", _catalog(found["catalog"]))]
    if "input_catalog" in found:
        lines.append(("input", _catalog(found["input_catalog"])))
    lines.append(("bins", _bins(inspection.bins) + _settled(found["bins"])))
    lines += _at_guess(inspection)
    count, size = inspection.blocks
    lines.append(("samples", f"{found['samples']:,} a step, in {count:,} blocks of {size:,}"))
    lines.append(("time", _time(inspection)))
    lines.append(("memory", _memory(inspection)))
    return lines


def _catalog(found: Mapping[str, Any]) -> str:
    dropped: Mapping[str, int] = found["dropped"]
    if not found["rows"] and not dropped:
        return "none: all counts are given"
    text = f"{found['rows']:,} rows of {found['source']}"
    total = found["rows"] + sum(dropped.values())
    if not dropped:
        return text + "; none left out"
    reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in dropped.items())
    return f"{text}; left out {sum(dropped.values()) / total:.1%}: {reasons}"


def _bins(bins: list[Bin]) -> str:
    counts = [b.n_training for b in bins if b.n_training]
    groups = len({b.group for b in bins})
    text = f"{len(bins)} in {groups} groups" if groups > 1 else f"{len(bins)}"
    if given := len(bins) - len(counts):
        text += f", {given} of given counts"
    if not counts:
        return text
    if len(bins) == 1:
        return f"{text}, of {counts[0]:,} training samples"
    return (
        f"{text}; training samples from {min(counts):,} to {max(counts):,}, "
        f"median {np.median(counts):,.0f}"
    )


def _settled(found: Mapping[str, Any]) -> str:
    """The treatment of bins with too few training samples."""
    text = ""
    if dropped := found["dropped"]:
        text = f"; {len(dropped)} left out for too few: {some_names(list(dropped))}"
    if merged := found["merged"]:
        parts = sum(len(of_bin) for of_bin in merged.values())
        text += f"; {parts} with too few joined to {len(merged)}: {some_names(list(merged))}"
    return text


def _at_guess(inspection: Inspection) -> Iterator[tuple[str, str]]:
    losses = inspection.losses
    spread = f" +- {number(losses.std(ddof=1), 2)} by random key" if np.ptp(losses) > 0 else ""
    yield "loss", f"{number(losses.mean(), 4)}{spread} at the guess"
    parts = []
    for name, members in statistics_of(inspection.bins).items():
        values = [found.chisq("guess") for found in members.values()]
        if finite := [v for v in values if np.isfinite(v)]:
            parts.append(f"{in_words(name)} {chisq(float(np.median(finite)))}")
    if parts:
        worst = ranked(inspection.bins)[0]
        where = f", worst {chisq(worst.worst)} in {worst.name}" if len(inspection.bins) > 1 else ""
        of = "reduced chi-square" + (" (median of bins)" if len(inspection.bins) > 1 else "")
        yield "misfit", f"{of} at the guess: {', '.join(parts)}{where}"


def _time(inspection: Inspection) -> str:
    cost, steps = inspection.cost, inspection.config.fit.steps
    step = cost["step_s"]
    shown = f"{1e3 * step:.3g} ms" if step < 1 else f"{step:.3g} s"
    total = duration(steps * step)
    return (
        f"{shown} a step, {total} for fit.steps={steps:,}, on {_devices(inspection)}; "
        f"compiled in {cost['compile_s']:.1f} s"
    )


def _devices(inspection: Inspection) -> str:
    devices = inspection.facts["devices"]
    mesh = " x ".join(str(n) for n in devices["mesh"].values())
    count, processes = devices["count"], devices["processes"]
    text = f"{count} {devices['platform']} device{'s' if count > 1 else ''}"
    text += f" (mesh {mesh})" if count > 1 else ""
    return text + (f" of {processes} processes" if processes > 1 else "")


def _memory(inspection: Inspection) -> str:
    memory = inspection.cost["memory"]
    if memory is None:
        return "this backend does not tell"
    text = (
        f"{size(memory['total'])} a device: {size(memory['arguments'])} of catalogs and training "
        f"counts, {size(memory['temporary'])} temporary"
    )
    has = inspection.device_memory
    return f"{text}; a device has {size(has)}" if has else text


def size(amount: float) -> str:
    """A number of bytes in a suitable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def parameter_rows(inspection: Inspection) -> list[dict[str, str]]:
    """One row per parameter: guess, bounds, and mean and scatter of the gradient at the guess."""
    rows = []
    for name, parameter in inspection.parameters.by_name().items():
        slopes = inspection.gradients[name]
        known = np.isfinite(slopes).all()
        scatter = float(slopes.std(ddof=1)) if known and len(slopes) > 1 else 0.0
        gradient = number(slopes.mean(), 3)
        if scatter:
            gradient += f" +- {number(scatter, 2)}"
        flag = "" if known and slopes.any() else "no gradient" if known else "not finite"
        rows.append(
            {
                "name": name,
                "guess": number(parameter.guess),
                "low": number(parameter.low),
                "high": number(parameter.high),
                "gradient": "fixed" if parameter.fixed else gradient,
                "flag": "" if parameter.fixed else flag,
            }
        )
    return rows
