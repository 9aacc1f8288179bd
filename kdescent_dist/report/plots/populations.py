"""The fit against the data in each bin: contours of two columns, or histograms of one."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.labels import bin_title, column_label
from kdescent_dist.report.data.records import Bin, Samples
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.density import (
    Raster,
    effective_number,
    enclosed_levels,
    robust_limits,
)
from kdescent_dist.report.plots.style import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POPULATIONS = ("data", "fit", "guess")
Selected = Mapping[str, tuple[np.ndarray, np.ndarray]]  # population: (n, d) values, (n,) weights


def plot_bins(
    stem: str, bins: Sequence[Bin], samples: Mapping[str, Samples], fitted: bool = True
) -> list[Plot]:
    """Draw the data and the model in each bin of one group.

    Args:
        stem: start of the names of the files.
        bins: bins of equal columns.
        samples: ``data``, ``guess`` and ``fit``, as far as they are known.
        fitted: whether there is a fit; else ``fit`` is the guess, and so it is called.
    """
    selected = [{p: bin_.select(samples.get(p)) for p in POPULATIONS} for bin_ in bins]
    limits = _limits(selected, len(bins[0].columns))
    pairs = list(zip(bins, selected, strict=True))
    if len(bins[0].columns) == 1:
        return [
            _histograms(stem + suffix, page, limits[0], fitted)
            for suffix, page in style.pages(pairs, 12)
        ]
    if len(bins[0].columns) == 2:
        return [
            _contours(stem + suffix, page, limits, fitted)
            for suffix, page in style.pages(pairs, 16)
        ]
    return [
        _all_pairs(stem + suffix, page, limits, fitted) for suffix, page in style.pages(pairs, 4)
    ]


def _limits(selected: Sequence[Selected], dims: int) -> list[tuple[float, float]]:
    """Limits of each column that hold for all bins of a group."""
    return [
        robust_limits(
            *(
                [(x[:, i], weights) for x, weights in (s[which] for s in selected)]
                for which in ("data", "fit", "guess")
            )
        )
        for i in range(dims)
    ]


def _layout(number: int) -> tuple[int, tuple[float, float]]:
    """Panels per row and their size, so that a row fills the width of the report."""
    columns = style.panels_per_row(number)
    width = min(style.WIDTH / columns, 4.2)
    return columns, (width, 0.92 * width + 0.15)


def _title(bin_: Bin, pairs: Sequence[tuple[Bin, Selected]]) -> str:
    return f"{bin_title(bin_, [b for b, _ in pairs])}\nn = {bin_.n_training:,}"


def _contours(
    stem: str,
    pairs: Sequence[tuple[Bin, Selected]],
    limits: Sequence[tuple[float, float]],
    fitted: bool,
) -> Plot:
    columns, size = _layout(len(pairs))
    figure, axes = style.small_multiples(len(pairs), columns, size)
    for ax, (bin_, selected) in zip(axes, pairs, strict=True):
        _draw_pair(ax, selected, (0, 1), limits)
        style.title(ax, _title(bin_, pairs))
    names = pairs[0][0].columns
    figure.supxlabel(column_label(names[0]), fontsize=style.FONT + 1)
    figure.supylabel(column_label(names[1]), fontsize=style.FONT + 1)
    style.legend(figure, style.population_handles(fitted))
    return Plot(stem, figure, _caption(pairs, fitted))


def _all_pairs(
    stem: str,
    pairs: Sequence[tuple[Bin, Selected]],
    limits: Sequence[tuple[float, float]],
    fitted: bool,
) -> Plot:
    """One row of panels per bin: all pairs of up to four columns, else the neighboring ones."""
    names = pairs[0][0].columns
    dims = range(len(names))
    couples = list(itertools.combinations(dims, 2) if len(names) <= 4 else itertools.pairwise(dims))
    per_row = min(len(couples), 4)
    width = min(style.WIDTH / per_row, 3.0)
    # Rows of equal length start each bin afresh, so that a column of panels is one pair.
    rows_per_bin = -(-len(couples) // per_row)
    slots = len(pairs) * rows_per_bin * per_row
    size = (width, 0.9 * width + 0.3)
    figure, axes = style.small_multiples(slots, per_row, size, sharex=False, sharey=False)
    for i, (bin_, selected) in enumerate(pairs):
        row = axes[i * rows_per_bin * per_row : (i + 1) * rows_per_bin * per_row]
        for ax, couple in zip(row, couples, strict=False):
            _draw_pair(ax, selected, couple, [limits[c] for c in couple])
            ax.set_xlabel(column_label(names[couple[0]]), fontsize=style.FONT)
            ax.set_ylabel(column_label(names[couple[1]]), fontsize=style.FONT)
        for unused in row[len(couples) :]:
            unused.remove()
        style.title(row[0], _title(bin_, pairs))
    style.legend(figure, style.population_handles(fitted))
    shown = "all pairs" if len(couples) == len(names) * (len(names) - 1) // 2 else "neighbors"
    return Plot(
        stem,
        figure,
        f"{_caption(pairs, fitted)} Each panel shows two of the {len(names)} "
        f"columns ({shown}); the first panel of a bin carries its title.",
    )


def _draw_pair(
    ax: "Axes", selected: Selected, couple: tuple[int, int], limits: Sequence[tuple[float, float]]
) -> None:
    """Data as filled contours and models as lines, all with the same cells and smoothing."""
    populations = {p: (x[:, couple], w) for p, (x, w) in selected.items() if w.sum() > 0}
    ax.set(xlim=limits[0], ylim=limits[1])
    if not populations:
        ax.text(0.5, 0.5, "no samples", transform=ax.transAxes, ha="center", fontsize=8)
        return
    # The smoothing suits the noisier of data and fit, whose weights may leave few that count.
    number = min(effective_number(w) for _, w in list(populations.values())[:2])
    raster = Raster.around(*next(iter(populations.values())), number, limits)
    if "data" in populations:
        x, weights = populations["data"]
        density = raster.density(x, weights)
        levels = enclosed_levels(density)
        # Dots have no weight to show that a sample lies in the soft edge of the bin: leave it out.
        typical = np.sum(weights**2) / np.sum(weights)
        _draw_outside(ax, raster, density, x[weights > 0.5 * typical], levels)
        if levels:
            fills = style.DATA_FILLS[-len(levels) :]
            bounds = [*levels, 1.001 * max(float(density.max()), levels[-1])]
            ax.contourf(*raster.centers, density.T, levels=bounds, colors=fills, zorder=2)
    for which, look in (
        ("guess", {"colors": style.GUESS, "linestyles": ":", "linewidths": 0.8}),
        ("fit", {"colors": style.FIT, "linestyles": "-", "linewidths": 1.3}),
    ):
        if which in populations:
            density = raster.density(*populations[which])
            if levels := enclosed_levels(density):
                ax.contour(*raster.centers, density.T, levels=levels, zorder=3, **look)


def _draw_outside(
    ax: "Axes", raster: Raster, density: np.ndarray, x: np.ndarray, levels: Sequence[float]
) -> None:
    """Dots where the data lie outside their outermost contour, as far as dots stay countable."""
    cells = [np.searchsorted(e, x[:, i], "right") - 1 for i, e in enumerate(raster.edges)]
    inside = [(c >= 0) & (c < n) for c, n in zip(cells, density.shape, strict=True)]
    keep = np.flatnonzero(inside[0] & inside[1])
    low = keep[density[cells[0][keep], cells[1][keep]] < (levels[0] if levels else np.inf)]
    low = low[:: max(1, low.size // 400)]
    ax.plot(x[low, 0], x[low, 1], ".", ms=2.2, mew=0, color=style.DATA, alpha=0.55, zorder=1)


def _caption(pairs: Sequence[tuple[Bin, Selected]], fitted: bool) -> str:
    caption = (
        f"Filled contours and dots: the data. Lines: the model, {_lines(fitted)}. "
        "Contours enclose the same fractions of the weight of each; "
        "cells and smoothing are the same for all."
    )
    soft = any(softness > 0 for bin_, _ in pairs for softness in bin_.softness.values())
    return caption + (" Samples carry the soft window of their bin as weight." if soft else "")


def _lines(fitted: bool) -> str:
    return (
        "at the fitted parameters (orange) and at the guess (dotted)"
        if fitted
        else ("at the guess")
    )


def _histograms(
    stem: str, pairs: Sequence[tuple[Bin, Selected]], limits: tuple[float, float], fitted: bool
) -> Plot:
    columns, (width, height) = _layout(len(pairs))
    figure, axes = style.small_multiples(len(pairs), columns, (width, 0.85 * height), sharey=False)
    absolute = any(bin_.normalization != "conditional" for bin_, _ in pairs)
    for ax, (bin_, selected) in zip(axes, pairs, strict=True):
        _draw_histogram(ax, bin_, selected, limits, absolute)
        style.title(ax, _title(bin_, pairs))
    figure.supxlabel(column_label(pairs[0][0].columns[0]), fontsize=style.FONT + 1)
    what = "share of all weight" if pairs[0][0].share else "weight"
    unit = f"{what} per unit of {column_label(pairs[0][0].columns[0])}"
    figure.supylabel(unit if absolute else "probability density", fontsize=style.FONT + 1)
    style.legend(figure, _histogram_handles(fitted))
    caption = (
        f"Points: the data with Poisson errors. Lines: the model, {_lines(fitted)}, in the same "
        "intervals."
    )
    return Plot(stem, figure, caption)


def _draw_histogram(
    ax: "Axes", bin_: Bin, selected: Selected, limits: tuple[float, float], absolute: bool
) -> None:
    number = effective_number(selected["data"][1])
    edges = np.linspace(*limits, int(np.clip(2.0 * number ** (1 / 3), 12, 40)) + 1)
    width = edges[1] - edges[0]
    names = {"data": "training", "guess": "guess", "fit": "fit"}
    top = 0.0
    for which, (x, weights) in selected.items():
        if not weights.sum() > 0:
            continue
        scale = (bin_.sums[names[which]] if absolute else 1.0) / (weights.sum() * width)
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
                if which == "fit"
                else {"color": style.GUESS, "lw": 1.0, "ls": ":", "zorder": 2}
            )
            ax.stairs(height, edges, **look)
        if which != "guess":
            top = max(top, float(height.max()))
    ax.set_xlim(limits)
    if top > 0:
        ax.set_ylim(0, 1.25 * top)


def _histogram_handles(fitted: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    data = Line2D([], [], color=style.DATA, marker="o", ms=4, lw=1.0, label="data (Poisson errors)")
    return [data, *style.population_handles(fitted)[1:]]
