"""Residuals of the statistics that other packages add."""

import re
from collections.abc import Sequence

import numpy as np

from kdescent_dist.report.data.labels import bin_title
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot

CLIP = 5.0  # residuals beyond so many errors are drawn there


def plot_further_residuals(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw how the residuals of each further statistic are distributed, in each bin."""
    plots = []
    for name in dict.fromkeys(name for bin_ in bins for name in bin_.further):
        own = [b for b in bins if name in b.further and np.isfinite(b.further[name].model).any()]
        plots += [
            _histograms(f"{stem}_{re.sub(r'[^A-Za-z0-9]+', '-', name)}{suffix}", name, page)
            for suffix, page in style.pages(own, 24)
        ]
    return plots


def _histograms(stem: str, name: str, bins: Sequence[Bin]) -> Plot:
    columns = style.panels_per_row(len(bins))
    width = min(style.WIDTH / columns, 3.6)
    figure, axes = style.small_multiples(len(bins), columns, (width, 0.62 * width + 0.45))
    edges, normal = np.linspace(-CLIP, CLIP, 41), np.linspace(-CLIP, CLIP, 201)
    for ax, bin_ in zip(axes, bins, strict=True):
        residuals = bin_.further[name]
        ax.plot(normal, np.exp(-0.5 * normal**2) / np.sqrt(2 * np.pi), color="black", lw=0.9)
        finite = residuals.model[np.isfinite(residuals.model)]
        height, _ = np.histogram(np.clip(finite, -CLIP, CLIP), edges, density=True)
        ax.stairs(height, edges, color=style.KDE, lw=1.2)
        ax.set_xlim(-CLIP, CLIP)
        style.title(ax, bin_title(bin_, bins))
        label = f"{residuals.chisq('model'):.2f} of {len(finite):,}"
        ax.text(0.97, 0.94, label, transform=ax.transAxes, ha="right", va="top", fontsize=8)
    figure.supxlabel("(model - data) / error", fontsize=style.FONT)
    figure.supylabel("probability density", fontsize=style.FONT)
    caption = (
        f"Residuals of the counts of {name}, clipped at {CLIP:g} errors, against the unit normal. "
        "Numbers: reduced chi-square, and how many counts have an error."
    )
    return Plot(stem, figure, caption)


def _draw(run: Run) -> list[Plot]:
    return plot_further_residuals("further", run.shown)


PANEL = Panel("further", "Residuals of further statistics", "", _draw, link="Further statistics")
