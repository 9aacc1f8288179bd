"""The fit against the data in each bin: histograms of one column."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.labels import column_label
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.density import effective_number
from kdescent_dist.report.plots.panel import Plot
from kdescent_dist.report.plots.selected import (
    BEFORE,
    MODEL,
    Selected,
    have_data,
    layout,
    lines_in_words,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_histograms(stem: str, selected: Sequence[Selected], limits: tuple[float, float]) -> Plot:
    """Draw the histograms of one column in bins of one group.

    Args:
        stem: name of the file.
        selected: the bins with their samples.
        limits: limits of the column.
    """
    columns, (width, height) = layout(len(selected))
    figure, axes = style.small_multiples(
        len(selected), columns, (width, 0.85 * height), sharey=False
    )
    absolute = any(s.bin.normalization != "conditional" for s in selected)
    for ax, one in zip(axes, selected, strict=True):
        _draw_histogram(ax, one, limits, absolute)
        style.title(ax, title(one.bin, selected))
    first = selected[0].bin
    figure.supxlabel(column_label(first.columns[0]), fontsize=style.FONT + 1)
    what = "share of all weight" if first.share else "weight"
    unit = f"{what} per unit of {column_label(first.columns[0])}"
    figure.supylabel(unit if absolute else "probability density", fontsize=style.FONT + 1)
    style.legend(figure, _histogram_handles(selected))
    lines = lines_in_words(selected[0].fitted)
    caption = f"Lines: the model, {lines}"
    if have_data(selected):
        caption = f"Points: the data with Poisson errors. {caption}, in the same intervals"
    return Plot(stem, figure, f"{caption}.")


def _draw_histogram(
    ax: "Axes", selected: Selected, limits: tuple[float, float], absolute: bool
) -> None:
    number = effective_number(selected.samples["data"][1])
    edges = np.linspace(*limits, int(np.clip(2.0 * number ** (1 / 3), 12, 40)) + 1)
    width = edges[1] - edges[0]
    top = 0.0
    for which, (x, weights) in selected.samples.items():
        if not weights.sum() > 0:
            continue
        scale = (selected.sums[which] if absolute else 1.0) / (weights.sum() * width)
        height = scale * np.histogram(x[:, 0], edges, weights=weights)[0]
        if which == "data":
            error = scale * np.sqrt(np.histogram(x[:, 0], edges, weights=weights**2)[0])
            middle = 0.5 * (edges[1:] + edges[:-1])
            look: dict[str, Any] = {"fmt": "o", "ms": 3, "lw": 1.0, "color": style.DATA}
            ax.fill_between(
                edges, np.append(height, height[-1]), step="post", color=style.DATA_FILLS[0]
            )
            ax.errorbar(middle, height, error, zorder=4, **look)
        else:
            look = (
                {"color": style.FIT, "lw": 1.5, "zorder": 3}
                if which == MODEL
                else {"color": style.GUESS, "lw": 1.0, "ls": ":", "zorder": 2}
            )
            ax.stairs(height, edges, **look)
        if which != BEFORE:
            top = max(top, float(height.max()))
    ax.set_xlim(limits)
    if top > 0:
        ax.set_ylim(0, 1.25 * top)


def _histogram_handles(selected: Sequence[Selected]) -> list[Any]:
    from matplotlib.lines import Line2D

    models = style.population_handles(selected[0].fitted, data=False)
    if not have_data(selected):
        return models
    data = Line2D([], [], color=style.DATA, marker="o", ms=4, lw=1.0, label="data (Poisson errors)")
    return [data, *models]
