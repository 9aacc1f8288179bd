"""The course of a fit: its loss, the norm of its gradient, and its parameters."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.config.schema import ParameterConfig
from kdescent_dist.report.data.labels import safe
from kdescent_dist.report.data.records import History
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.style import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 3000  # vertices of a line; more would not be seen


def plot_loss(history: History) -> Plot:
    """Draw the loss and the norm of its gradient at each step."""
    figure, axes = style.small_multiples(2, 1, (style.WIDTH, 2.3), sharey=False, extra_height=0.4)
    window = max(5, history.step.size // 30)
    for ax, values, label in zip(
        axes, (history.loss, history.grad_norm), ("loss", "gradient norm"), strict=True
    ):
        _draw_noisy(ax, history.step, values, window)
        ax.set_ylabel(label, fontsize=style.FONT + 1)
        ax.grid(axis="y", lw=0.4, color=style.FAINT)
        ax.margins(x=0.012)
    axes[0].tick_params(labelbottom=False)
    axes[1].set_xlabel("step", fontsize=style.FONT + 1)
    style.legend(figure, _loss_handles(window))
    caption = (
        "Single values scatter with the random numbers, kernels and modes of their step; the "
        "running median shows the trend."
    )
    return Plot("loss", figure, caption)


def _draw_noisy(ax: "Axes", step: np.ndarray, values: np.ndarray, window: int) -> None:
    finite = np.isfinite(values)
    step, values = step[finite], values[finite]
    if not values.size:
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", fontsize=9)
        return
    if values.min() > 0:
        ax.set_yscale("log")
    marker = "." if values.size < 30 else ""
    ax.plot(*_thin(step, values), color="#b5b5b5", lw=0.7, marker=marker)
    if values.size >= 3 * window:
        ax.plot(*_running_median(step, values, window), color=style.FIT, lw=1.7)


def _thin(step: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the extremes of each stretch of a long line, so that it looks the same."""
    if values.size <= MOST_POINTS:
        return step, values
    stretch = -(-2 * values.size // MOST_POINTS)
    whole = values.size // stretch * stretch
    table = values[:whole].reshape(-1, stretch)
    starts = np.arange(0, whole, stretch)
    keep = np.unique(
        np.concatenate([starts + table.argmin(1), starts + table.argmax(1), [0, values.size - 1]])
    )
    return step[keep], values[keep]


def _running_median(
    step: np.ndarray, values: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    starts = np.unique(np.linspace(0, len(windows) - 1, 400).astype(int))
    return step[starts + window // 2], np.median(windows[starts], axis=1)


def _loss_handles(window: int) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color="#b5b5b5", lw=1.0, label="each step"),
        Line2D([], [], color=style.FIT, lw=1.7, label=f"running median of {window} steps"),
    ]


def plot_traces(history: History, parameters: Mapping[str, ParameterConfig]) -> list[Plot]:
    """Draw each parameter against the step, with its bounds and, where known, its true value."""
    names = [name for name in parameters if name in history.params]
    # As many panels per row as the longest title leaves room for.
    longest = max((len(name) for name in names), default=0)
    per_row = 3 if longest > 29 else 4 if longest > 22 else 5
    if len(names) <= 24:
        per_row = min(per_row, max(style.panels_per_row(len(names)), 3))
    return [
        _traces("parameters" + suffix, history, page, parameters, per_row)
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
    """Limits that show the trace and the truth, and a bound where it is close by."""
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
