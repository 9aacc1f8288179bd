"""The course of a fit: its parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.config.schema import ParameterConfig
from kdescent_dist.report.data.labels import safe
from kdescent_dist.report.data.records import History, Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 3000  # vertices of a line; more would not be visible
IN_SIGHT = 3  # visible figures; further figures are folded


def plot_traces(
    stem: str, history: History, parameters: Mapping[str, ParameterConfig]
) -> list[Plot]:
    """Draw each parameter against the step, with its bounds and, if known, its true value."""
    names = [name for name in parameters if name in history.params]
    # The longest title limits the number of panels per row.
    longest = max((len(name) for name in names), default=0)
    per_row = 3 if longest > 29 else 4 if longest > 22 else 5
    if len(names) <= 24:
        per_row = min(per_row, max(style.panels_per_row(len(names)), 3))
    return [
        _traces(stem + suffix, history, page, parameters, per_row)
        for suffix, page in style.pages(names, 6 * per_row, per_row)
    ]


def _traces(
    stem: str,
    history: History,
    names: Sequence[str],
    parameters: Mapping[str, ParameterConfig],
    per_row: int,
) -> Plot:
    columns = min(len(names), per_row)
    # Few panels do not grow to the full width.
    size = (min(style.WIDTH / columns, 3.0), 1.45)
    figure, axes = style.small_multiples(len(names), columns, size, sharey=False)
    thin = np.unique(np.linspace(0, history.step.size - 1, MOST_POINTS).astype(int))
    for ax, name in zip(axes, names, strict=True):
        parameter = parameters[name]
        values = history.params[name]
        limits = _trace_limits(values, parameter)
        ax.plot(history.step[thin], values[thin], color=style.FIT, lw=0.9, zorder=3)
        if parameter.truth is not None:
            ax.axhline(parameter.truth, color=style.TRUTH, lw=1.0, ls="--", zorder=2)
        if parameter.low is not None and parameter.low > limits[0]:
            _shade(ax, limits[0], parameter.low)
        if parameter.high is not None and parameter.high < limits[1]:
            _shade(ax, parameter.high, limits[1])
        ax.set_ylim(limits)
        style.title(ax, safe(parameter.label or name))
    figure.supxlabel("step", fontsize=style.FONT)
    known = any(parameters[name].truth is not None for name in names)
    style.legend(figure, _trace_handles(known))
    caption = (
        "Parameters at each step. Hatched: outside the bounds, drawn where a bound is near the "
        "values that were passed."
    )
    return Plot(stem, figure, caption)


def _shade(ax: "Axes", low: float, high: float) -> None:
    ax.axhspan(low, high, facecolor="#ededed", edgecolor="#c4c4c4", hatch="////", lw=0, zorder=1)


def _trace_limits(values: np.ndarray, parameter: ParameterConfig) -> tuple[float, float]:
    """Limits that show the trace, the guess and the truth, and bounds that are close."""
    marks = [parameter.guess] if parameter.truth is None else [parameter.guess, parameter.truth]
    points = np.append(values[np.isfinite(values)], marks)
    low, high = float(points.min()), float(points.max())
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-12)
    shown_low, shown_high = low - 0.08 * span, high + 0.08 * span
    if parameter.low is not None and low - parameter.low < 0.6 * span:
        shown_low = min(shown_low, parameter.low - 0.08 * span)
    if parameter.high is not None and parameter.high - high < 0.6 * span:
        shown_high = max(shown_high, parameter.high + 0.08 * span)
    return shown_low, shown_high


def _trace_handles(known: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    truth = [Line2D([], [], color=style.TRUTH, lw=1.0, ls="--", label="truth")] if known else []
    return [
        Line2D([], [], color=style.FIT, lw=1.4, label="parameter"),
        *truth,
        Patch(facecolor="#ededed", edgecolor="#c4c4c4", hatch="////", label="outside the bounds"),
    ]


def _draw(run: Run) -> list[Plot]:
    if run.history is None or not run.history.step.size:
        return []
    moving = {name: one for name, one in run.parameters.by_name().items() if not one.fixed}
    plots = plot_traces("parameters", run.history, moving)
    further = [replace(plot, folded="Further parameters") for plot in plots[IN_SIGHT:]]
    return [*plots[:IN_SIGHT], *further]


# The table of parameters has the anchor "parameters".
PANEL = Panel("traces", "Parameter traces", "", _draw, link="Traces", stems=("parameters",))
