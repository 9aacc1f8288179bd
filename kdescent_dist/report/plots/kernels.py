"""Kernels and Fourier modes on the training data of each bin."""

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

OUTLINES = 20  # kernels of a panel whose width is drawn
MOST_SAMPLES = 10_000  # of a bin, for its characteristic function beyond the modes
BEYOND = 2.5  # how far that is drawn, in units of the largest mode


def plot_kernels(stem: str, bins: Sequence[Bin], samples: Mapping[str, Samples]) -> list[Plot]:
    """Draw the centers and widths of the kernels of one group over the density of its data."""
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
        figure, axes = _panels(bins, 0.62 if len(names) == 1 else 0.92)
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


def _panels(bins: Sequence[Bin], aspect: float) -> tuple[Any, list["Axes"]]:
    per_row = style.panels_per_row(len(bins))
    width = min(style.WIDTH / per_row, 4.2)
    return style.small_multiples(len(bins), per_row, (width, aspect * width + 0.2))


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


def plot_modes(stem: str, bins: Sequence[Bin], samples: Mapping[str, Samples]) -> list[Plot]:
    """Draw the characteristic function of the data of each bin, and the reach of its modes."""
    bins = [b for b in bins if b.ecf is not None and len(b.ecf)]
    if not bins:
        return []
    figure, axes = _panels(bins, 0.7)
    rng = np.random.default_rng(0)
    for ax, bin_ in zip(axes, bins, strict=True):
        x, weights = bin_.select(samples.get("data"))
        if len(x) > MOST_SAMPLES:
            some = rng.choice(len(x), MOST_SAMPLES, replace=False)
            x, weights = x[some], weights[some]
        _draw_modes(ax, bin_, x, weights)
        style.title(ax, f"{bin_title(bin_, bins)}\nn = {bin_.n_training:,}")
    axes[0].set(ylim=(1e-3, 1.3), yscale="log")
    figure.supxlabel("wave number x standard deviation of the data", fontsize=style.FONT)
    figure.supylabel("size of the characteristic function", fontsize=style.FONT)
    style.legend(figure, _mode_handles(bins[0].columns))
    caption = (
        "How much structure the Fourier modes see: the empirical characteristic function of the "
        "data along each column (lines) and at the modes (dots), against the range of the modes "
        "(vertical line) and the noise (horizontal). Where lines are far above the noise beyond "
        "the range, a larger fourier_range_factor tells more; dots in the noise tell nothing."
    )
    return [Plot(stem, figure, caption)]


def _draw_modes(ax: "Axes", bin_: Bin, x: np.ndarray, weights: np.ndarray) -> None:
    assert bin_.ecf is not None
    assert bin_.ecf_err is not None
    total = max(float(weights.sum()), 1e-300)
    mean = weights @ x / total if len(x) else np.zeros(len(bin_.columns))
    spread = np.sqrt(weights @ (x - mean) ** 2 / total) if len(x) else np.ones(len(mean))
    reach = np.abs(bin_.modes).max(axis=0) * spread
    for j, color in zip(range(len(bin_.columns)), COLORS, strict=False):
        k = np.linspace(0, BEYOND * np.abs(bin_.modes[:, j]).max(), 80)
        curve = np.abs(np.exp(1j * k[:, None] * (x[:, j] - mean[j])) @ weights) / total
        ax.plot(k * spread[j], np.maximum(curve, 1e-6), color=color, lw=1.1, ls=STYLES[j])
    radius = np.sqrt(np.square(bin_.modes * spread).sum(axis=1))
    ax.plot(radius, np.abs(bin_.ecf), ".", ms=2.5, mew=0, color="black", alpha=0.6)
    ax.axhline(float(np.median(np.abs(bin_.ecf_err))), color=style.GUESS, lw=0.9, ls=":")
    ax.axvline(float(reach.max()), color="black", lw=0.7)
    ax.set_xlim(0, None)


COLORS = (style.KDE, style.FIT, style.FOURIER, style.DATA)
STYLES = ("-", "--", "-.", ":")


def _mode_handles(columns: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=color, ls=look, lw=1.1, label=column_label(name))
        for name, color, look in zip(columns, COLORS, STYLES, strict=False)
    ]
    return [
        *lines,
        Line2D([], [], ls="", marker=".", color="black", label="modes"),
        Line2D([], [], color="black", lw=0.7, label="range"),
        Line2D([], [], color=style.GUESS, lw=0.9, ls=":", label="noise"),
    ]
