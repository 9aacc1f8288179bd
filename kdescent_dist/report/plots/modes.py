"""Fourier modes over the characteristic function of the training data of each bin."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.comparison import Samples
from kdescent_dist.report.data.labels import bin_title, column_label
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SAMPLES = 10_000  # most samples of a bin for its characteristic function
BEYOND = 2.5  # range of the characteristic function, in units of the largest mode
COLORS = (style.KDE, style.FIT, style.FOURIER, style.DATA)
STYLES = ("-", "--", "-.", ":")


def plot_modes(stem: str, bins: Sequence[Bin], samples: Mapping[str, Samples]) -> list[Plot]:
    """Draw the characteristic function of the data of each bin, and the range of its modes."""
    bins = [b for b in bins if b.ecf is not None and len(b.ecf)]
    if not bins:
        return []
    figure, axes = style.panels_of_bins(len(bins), 0.7)
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
