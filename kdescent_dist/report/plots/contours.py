"""The fit against the data in each bin: contours of two columns."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kdescent_dist.report.data.labels import column_label
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.density import Raster, effective_number, enclosed_levels
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

Limits = Sequence[tuple[float, float]]  # low and high of each column


def plot_contours(stem: str, selected: Sequence[Selected], limits: Limits) -> Plot:
    """Draw the contours of two columns in bins of one group, one panel for each bin."""
    columns, size = layout(len(selected))
    figure, axes = style.small_multiples(len(selected), columns, size)
    for ax, one in zip(axes, selected, strict=True):
        _draw_pair(ax, one, (0, 1), limits)
        style.title(ax, title(one.bin, selected))
    names = selected[0].bin.columns
    figure.supxlabel(column_label(names[0]), fontsize=style.FONT + 1)
    figure.supylabel(column_label(names[1]), fontsize=style.FONT + 1)
    style.legend(figure, style.population_handles(selected[0].fitted, have_data(selected)))
    return Plot(stem, figure, _caption(selected))


def plot_pairs(stem: str, selected: Sequence[Selected], limits: Limits) -> Plot:
    """Draw the contours of pairs of columns in bins of one group, one row of panels for each bin.

    The pairs are all pairs of up to four columns, and the neighbors of more columns.
    """
    names = selected[0].bin.columns
    dims = range(len(names))
    couples = list(itertools.combinations(dims, 2) if len(names) <= 4 else itertools.pairwise(dims))
    per_row = min(len(couples), 4)
    width = min(style.WIDTH / per_row, 3.0)
    # Each bin starts a new row of panels, so that a column of panels shows one pair.
    rows_per_bin = -(-len(couples) // per_row)
    slots = len(selected) * rows_per_bin * per_row
    size = (width, 0.9 * width + 0.3)
    figure, axes = style.small_multiples(slots, per_row, size, sharex=False, sharey=False)
    for i, one in enumerate(selected):
        row = axes[i * rows_per_bin * per_row : (i + 1) * rows_per_bin * per_row]
        for ax, couple in zip(row, couples, strict=False):
            _draw_pair(ax, one, couple, [limits[c] for c in couple])
            ax.set_xlabel(column_label(names[couple[0]]), fontsize=style.FONT)
            ax.set_ylabel(column_label(names[couple[1]]), fontsize=style.FONT)
        for unused in row[len(couples) :]:
            unused.remove()
        style.title(row[0], title(one.bin, selected))
    style.legend(figure, style.population_handles(selected[0].fitted, have_data(selected)))
    shown = "all pairs" if len(couples) == len(names) * (len(names) - 1) // 2 else "neighbors"
    return Plot(
        stem,
        figure,
        f"{_caption(selected)} Each panel shows two of the {len(names)} "
        f"columns ({shown}); the first panel of a bin carries its title.",
    )


def _draw_pair(ax: "Axes", selected: Selected, couple: tuple[int, int], limits: Limits) -> None:
    """Data as filled contours and models as lines, all with the same cells and smoothing."""
    populations = {p: (x[:, couple], w) for p, (x, w) in selected.samples.items() if w.sum() > 0}
    ax.set(xlim=limits[0], ylim=limits[1])
    if not populations:
        ax.text(0.5, 0.5, "no samples", transform=ax.transAxes, ha="center", fontsize=8)
        return
    # The smoothing suits the noisier of data and model: weights may leave few effective samples.
    number = min(effective_number(w) for _, w in list(populations.values())[:2])
    raster = Raster.around(*next(iter(populations.values())), number, limits)
    if "data" in populations:
        x, weights = populations["data"]
        density = raster.density(x, weights)
        levels = enclosed_levels(density)
        # Dots cannot show weights, so samples in the soft edge of the bin are left out.
        typical = np.sum(weights**2) / np.sum(weights)
        _draw_outside(ax, raster, density, x[weights > 0.5 * typical], levels)
        if levels:
            fills = style.DATA_FILLS[-len(levels) :]
            bounds = [*levels, 1.001 * max(float(density.max()), levels[-1])]
            ax.contourf(*raster.centers, density.T, levels=bounds, colors=fills, zorder=2)
    for which, look in (
        (BEFORE, {"colors": style.GUESS, "linestyles": ":", "linewidths": 0.8}),
        (MODEL, {"colors": style.FIT, "linestyles": "-", "linewidths": 1.3}),
    ):
        if which in populations:
            density = raster.density(*populations[which])
            if levels := enclosed_levels(density):
                ax.contour(*raster.centers, density.T, levels=levels, zorder=3, **look)


def _draw_outside(
    ax: "Axes", raster: Raster, density: np.ndarray, x: np.ndarray, levels: Sequence[float]
) -> None:
    """Draw samples of the data outside the outermost contour as dots, about 400 at most."""
    cells = [np.searchsorted(e, x[:, i], "right") - 1 for i, e in enumerate(raster.edges)]
    inside = [(c >= 0) & (c < n) for c, n in zip(cells, density.shape, strict=True)]
    keep = np.flatnonzero(inside[0] & inside[1])
    low = keep[density[cells[0][keep], cells[1][keep]] < (levels[0] if levels else np.inf)]
    low = low[:: max(1, low.size // 400)]
    ax.plot(x[low, 0], x[low, 1], ".", ms=2.2, mew=0, color=style.DATA, alpha=0.55, zorder=1)


def _caption(selected: Sequence[Selected]) -> str:
    lines = lines_in_words(selected[0].fitted)
    data = "Filled contours and dots: the data. " if have_data(selected) else ""
    caption = (
        f"{data}Lines: the model, {lines}. "
        "Contours enclose the same fractions of the weight of each; "
        "cells and smoothing are the same for all."
    )
    soft = any(softness > 0 for s in selected for softness in s.bin.softness.values())
    return caption + (" Samples carry the soft window of their bin as weight." if soft else "")
