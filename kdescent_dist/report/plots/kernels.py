"""Kernels on the training data of each bin, before a fit."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.comparison import Samples
from kdescent_dist.report.data.inspection import Inspection
from kdescent_dist.report.data.labels import bin_title, column_label
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.density import (
    Raster,
    effective_number,
    enclosed_levels,
    robust_limits,
)
from kdescent_dist.report.plots.modes import plot_modes
from kdescent_dist.report.plots.panel import Panel, Plot, draw_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTLINES = 20  # number of kernels per panel whose width is drawn


def plot_kernels(stem: str, bins: Sequence[Bin], samples: Mapping[str, Samples]) -> list[Plot]:
    """Draw the centers and widths of the kernels of a group over the density of its data."""
    bins = [b for b in bins if len(b.centers) and b.kernel_cov is not None]
    if not bins:
        return []
    names = bins[0].columns
    selected = [b.select(samples.get("data")) for b in bins]
    limits = [robust_limits([(x[:, i], w) for x, w in selected], [], []) for i in range(len(names))]
    couples = list(itertools.pairwise(range(len(names)))) or [(0, 0)]
    plots = []
    for couple in couples:
        part = f"_{couple[0] + 1}{couple[1] + 1}" if len(couples) > 1 else ""
        figure, axes = style.panels_of_bins(len(bins), 0.62 if len(names) == 1 else 0.92)
        for ax, bin_, (x, weights) in zip(axes, bins, selected, strict=True):
            if len(names) == 1:
                _draw_line(ax, bin_, x[:, 0], weights, limits[0])
            else:
                of_couple = [limits[i] for i in couple]
                _draw_pair(ax, bin_, couple, x[:, couple], weights, of_couple)
            style.title(ax, f"{bin_title(bin_, bins)}\nn = {bin_.n_training:,}")
        figure.supxlabel(column_label(names[couple[0]]), fontsize=style.FONT + 1)
        along = "density" if len(names) == 1 else column_label(names[couple[1]])
        figure.supylabel(along, fontsize=style.FONT + 1)
        style.legend(figure, _kernel_handles(len(names) == 1))
        caption = (
            "Kernels on the data of the bin: all centers to draw from (dots) and, of some, one "
            "standard deviation. Kernels that are wider than the structure of the data blur it; "
            "kernels that hold few samples are noisy (bandwidth_factor, covariant_kernels)."
        )
        plots.append(Plot(f"{stem}{part}", figure, caption))
    return plots


def _draw_line(
    ax: "Axes", bin_: Bin, x: np.ndarray, weights: np.ndarray, limits: tuple[float, float]
) -> None:
    edges = np.linspace(*limits, 61)
    height, _ = np.histogram(x, edges, weights=weights / max(weights.sum(), 1e-300))
    height = height / (edges[1] - edges[0])
    ax.stairs(height, edges, fill=True, facecolor=style.DATA_FILLS[1])
    assert bin_.kernel_cov is not None
    width, top = float(np.sqrt(bin_.kernel_cov[0, 0])), float(height.max(initial=1e-300))
    grid = np.linspace(-3, 3, 61)
    for center in bin_.centers[:OUTLINES, 0]:
        ax.plot(center + width * grid, 0.35 * top * np.exp(-0.5 * grid**2), **_outline())
    ax.plot(bin_.centers[:, 0], np.full(len(bin_.centers), -0.05 * top), "|", **_dots(), ms=5)
    ax.set(xlim=limits, ylim=(-0.1 * top, 1.1 * top))
    ax.set_yticks([])


def _draw_pair(
    ax: "Axes",
    bin_: Bin,
    couple: tuple[int, int],
    x: np.ndarray,
    weights: np.ndarray,
    limits: Sequence[tuple[float, float]],
) -> None:
    from matplotlib.patches import Ellipse

    if weights.sum() > 0:
        raster = Raster.around(x, weights, effective_number(weights), limits)
        density = raster.density(x, weights)
        if levels := enclosed_levels(density):
            bounds = [*levels, 1.001 * max(float(density.max()), levels[-1])]
            fills = style.DATA_FILLS[-len(levels) :]
            ax.contourf(*raster.centers, density.T, levels=bounds, colors=fills, zorder=1)
    centers = bin_.centers[:, couple]
    ax.plot(*centers.T, ".", **_dots(), ms=2, zorder=2)
    assert bin_.kernel_cov is not None
    values, vectors = np.linalg.eigh(np.asarray(bin_.kernel_cov, float)[np.ix_(couple, couple)])
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    along, across = 2 * np.sqrt(np.maximum(values[::-1], 0))
    for center in centers[:OUTLINES]:
        look = {"fill": False, "edgecolor": style.FIT, "lw": 0.9, "zorder": 3}
        ax.add_patch(Ellipse(tuple(center), along, across, angle=angle, **look))
    ax.set(xlim=limits[0], ylim=limits[1])


def _outline() -> dict[str, Any]:
    return {"color": style.FIT, "lw": 0.9}


def _dots() -> dict[str, Any]:
    return {"color": style.KDE, "mew": 0.5, "alpha": 0.5}


def _kernel_handles(flat: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dots: dict[str, Any] = {"ls": "", "marker": "|" if flat else ".", "color": style.KDE}
    return [
        Patch(facecolor=style.DATA_FILLS[1], label="data"),
        Line2D([], [], label="centers of kernels", **dots),
        Line2D([], [], label="width of a kernel", **_outline()),
    ]


def _draw(found: Inspection) -> list[Plot]:
    data = found.samples
    return [
        *draw_groups("kernels", found.shown, lambda stem, bins: plot_kernels(stem, bins, data)),
        *draw_groups("modes", found.shown, lambda stem, bins: plot_modes(stem, bins, data)),
    ]


PANEL = Panel(
    "kernels",
    "Kernels and Fourier modes",
    "",
    _draw,
    link="Kernels and modes",
    stems=("kernels", "modes"),
    template="kernels_panel.html.j2",
)
