"""The basins of the loss: where many starts of a fit have ended."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdescent_dist.report.data.labels import safe
from kdescent_dist.report.data.records import Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot

MOST = 23  # parameters that are drawn

TEXT = (
    "Each point is a short fit from another guess, at the parameters where it ended. Points of the "
    "same loss and parameters are in one basin; the fit began at the lowest one."
)


def plot_starts(stem: str, known: Mapping[str, Any]) -> list[Plot]:
    """Draw the loss of each start by rank, and against each parameter.

    Args:
        stem: name of the file.
        known: the contents of ``starts.json``.
    """
    starts = [one for one in known["starts"] if one["loss"] is not None]
    if not starts:
        return []
    losses = np.array([one["loss"] for one in starts])
    order = np.argsort(losses, kind="stable")
    ends = np.array([one["params"] for one in starts])
    names = known["names"][:MOST]
    number = len(names) + 1
    figure, axes = style.small_multiples(
        number, style.panels_per_row(number), (2.3, 1.9), sharex=False
    )
    columns = [np.argsort(order) + 1, *ends.T[: len(names)]]
    labels = ["rank", *(safe(name) for name in names)]
    for ax, values, label in zip(axes, columns, labels, strict=True):
        ax.plot(values, losses, "o", ms=4, mfc="none", color=style.DATA)
        ax.plot(values[order[0]], losses[order[0]], "D", ms=6, color=style.FIT)
        ax.set_xlabel(label, fontsize=style.FONT)
        if losses.min() > 0:
            ax.set_yscale("log")
            low, high = losses.min(), losses.max()
            style.set_log_ticks(ax.yaxis, low, max(high, low * 1.01))
    figure.supylabel("loss", fontsize=style.FONT)
    style.legend(figure, _handles())
    lost = len(known["starts"]) - len(starts)
    told = f" {lost} starts had a loss that is not finite." if lost else ""
    caption = (
        f"Losses of {len(starts)} starts, with the same random numbers, by rank and against the "
        f"parameters where they ended.{told}"
    )
    return [Plot(stem, figure, caption)]


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], ls="", marker="o", ms=4, mfc="none", color=style.DATA, label="a start"),
        Line2D([], [], ls="", marker="D", ms=6, color=style.FIT, label="the guess of the fit"),
    ]


def _draw(run: Run) -> list[Plot]:
    return plot_starts("starts", run.starts) if run.starts.get("starts") else []


PANEL = Panel("starts", "Starts", TEXT, _draw)
