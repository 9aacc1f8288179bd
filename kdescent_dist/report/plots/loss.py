"""The course of a fit: its loss and the norm of its gradient."""

from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.records import History, Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 3000  # vertices of a line; more would not be visible


def plot_loss(stem: str, history: History) -> Plot:
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
    return Plot(stem, figure, caption)


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
    """Keep the extremes of each stretch of a long line, so that the line looks the same."""
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


def _draw(run: Run) -> list[Plot]:
    return [plot_loss("loss", run.history)] if run.history and run.history.step.size else []


PANEL = Panel("loss", "Loss", "", _draw)
