"""Residuals in units of their errors: their distribution, and their map within a bin."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.labels import bin_title, column_label
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot, draw_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLIP = 5.0  # in errors; larger residuals are drawn at this value
EDGES = np.linspace(-CLIP, CLIP, 41)


def plot_residual_histograms(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the distribution of the residuals of the fit, and the unit normal distribution."""
    bins = [b for b in bins if np.isfinite([*b.kde.model, *b.fourier.model]).any()]
    return [_histograms(stem + suffix, page) for suffix, page in style.pages(bins, 24)]


def plot_residual_maps(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the residuals of the kernel counts of a group at the centers of the kernels."""
    bins = [b for b in bins if np.isfinite(b.kde.model).any()]
    return [_maps(stem + suffix, page) for suffix, page in style.pages(bins, 16)]


def _histograms(stem: str, bins: Sequence[Bin]) -> Plot:
    columns = style.panels_per_row(len(bins))
    width = min(style.WIDTH / columns, 3.2)
    figure, axes = style.small_multiples(len(bins), columns, (width, 0.62 * width + 0.45))
    for ax, bin_ in zip(axes, bins, strict=True):
        lines = [(bin_.kde.model, style.KDE, "-"), (bin_.fourier.model, style.FOURIER, "--")]
        draw_distribution(ax, lines, _chisq_label(bin_))
        style.title(ax, bin_title(bin_, bins))
    _cap_height(axes[0], bins)
    figure.supxlabel("(model - data) / error", fontsize=style.FONT)
    figure.supylabel("probability density", fontsize=style.FONT)
    style.legend(figure, _histogram_handles())
    caption = (
        f"Residuals of the fit in units of their errors, clipped at {CLIP:g}, against the unit "
        "normal. Neighboring kernels overlap, so their residuals are correlated: a shift or a "
        "bump within the normal is no sign of a misfit, broad wings are. "
        "Numbers: reduced chi-square."
    )
    return Plot(stem, figure, caption)


def draw_distribution(ax: "Axes", lines: Sequence[tuple[np.ndarray, str, str]], label: str) -> None:
    """Draw the distribution of residuals, and the unit normal distribution.

    Args:
        ax: axes to draw in.
        lines: for each line, residuals (NaN if undefined), color and line style.
        label: text in the upper right corner.
    """
    normal = np.linspace(-CLIP, CLIP, 201)
    ax.plot(normal, np.exp(-0.5 * normal**2) / np.sqrt(2 * np.pi), color="black", lw=0.9)
    for values, color, look in lines:
        height = _density(values)
        if height is not None:
            ax.stairs(height, EDGES, color=color, ls=look, lw=1.2)
    ax.set_xlim(-CLIP, CLIP)
    ax.text(0.97, 0.94, label, transform=ax.transAxes, ha="right", va="top", fontsize=8)


def _density(values: np.ndarray) -> np.ndarray | None:
    """Probability density of residuals between ``EDGES``, None without finite residuals."""
    finite = np.clip(values[np.isfinite(values)], -CLIP, CLIP)
    return np.histogram(finite, EDGES, density=True)[0] if finite.size else None


def _cap_height(ax: "Axes", bins: Sequence[Bin]) -> None:
    """Limit the height, so that one bin with a sharp peak does not flatten the other bins."""
    heights = [_density(values) for b in bins for values in (b.kde.model, b.fourier.model)]
    peaks = [height.max() for height in heights if height is not None]
    ax.set_ylim(0, 1.25 * float(np.clip(max(peaks), 0.45, 1.1)))


def _chisq_label(bin_: Bin) -> str:
    parts = {"KDE": bin_.kde.chisq("fit"), "Fourier": bin_.fourier.chisq("fit")}
    return "\n".join(f"{k} {v:.2f}" for k, v in parts.items() if np.isfinite(v))


def _histogram_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=style.KDE, lw=1.4, label="kernel counts (KDE)"),
        Line2D([], [], color=style.FOURIER, lw=1.4, ls="--", label="Fourier counts"),
        Line2D([], [], color="black", lw=0.9, label="unit normal"),
    ]


def _maps(stem: str, bins: Sequence[Bin]) -> Plot:
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    # From the color of the data, for too little weight of the model, to the color of the model.
    colors = LinearSegmentedColormap.from_list(
        "residual", ["#0b3c74", "#5b8fc4", "#ececec", "#ee9a5a", "#9c3c00"]
    )
    columns = style.panels_per_row(len(bins))
    width = min(style.WIDTH / columns, 3.6)
    flat = len(bins[0].columns) == 1
    size = (width, (0.7 if flat else 0.9) * width + 0.2)
    figure, axes = style.small_multiples(len(bins), columns, size)
    limits = _limits(bins)
    norm = Normalize(-CLIP, CLIP)
    for ax, bin_ in zip(axes, bins, strict=True):
        known = np.flatnonzero(np.isfinite(bin_.kde.model))
        # Large residuals are drawn last, on top of small residuals.
        order = known[np.argsort(np.abs(bin_.kde.model[known]))]
        values = bin_.kde.model[order]
        x = bin_.centers[order, 0]
        y = np.clip(values, -CLIP, CLIP) if flat else bin_.centers[order, 1]
        ax.scatter(
            x, y, c=values, cmap=colors, norm=norm, s=float(np.clip(5000 / x.size, 3, 24)), lw=0
        )
        ax.set_xlim(limits[0])
        if flat:
            ax.axhline(0.0, color="black", lw=0.6)
            ax.set_ylim(-1.06 * CLIP, 1.06 * CLIP)
        else:
            ax.set_ylim(limits[1])
        style.title(ax, f"{bin_title(bin_, bins)}\n{_share(bin_)}")
    names = bins[0].columns
    figure.supxlabel(column_label(names[0]), fontsize=style.FONT + 1)
    label = "(model - data) / error"
    figure.supylabel(label if flat else column_label(names[1]), fontsize=style.FONT + 1)
    if not flat:
        from matplotlib.cm import ScalarMappable

        bar = figure.colorbar(
            ScalarMappable(norm, colors),
            ax=axes,
            extend="both",
            aspect=18 * -(-len(bins) // columns),
            pad=0.015,
        )
        bar.set_label(label, fontsize=style.FONT)
        bar.ax.tick_params(labelsize=8)
    caption = (
        "Residuals of the kernel counts at the centers of the kernels: orange where the model has "
        f"too much weight, blue where it lacks some, clipped at {CLIP:g} errors."
    )
    if len(names) > 2:
        caption += f" The first two of {len(names)} columns."
    return Plot(stem, figure, caption)


def _share(bin_: Bin) -> str:
    return f"{100 * bin_.kde.outliers():.2g}% beyond 3 errors"


def _limits(bins: Sequence[Bin]) -> list[tuple[float, float]]:
    centers = np.concatenate([b.centers[np.isfinite(b.kde.model)] for b in bins])
    limits = []
    for values in centers.T:
        low, high = np.percentile(values, (0.2, 99.8))
        margin = 0.06 * max(high - low, 1e-6 * max(abs(low), abs(high), 1e-30))
        limits.append((float(low - margin), float(high + margin)))
    return limits


def _draw(run: Run) -> list[Plot]:
    return [
        *plot_residual_histograms("residuals", run.shown),
        *draw_groups("map", run.shown, plot_residual_maps),
    ]


PANEL = Panel(
    "residuals",
    "Residuals in units of their errors",
    "",
    _draw,
    link="Residuals",
    stems=("residuals", "map"),
)
