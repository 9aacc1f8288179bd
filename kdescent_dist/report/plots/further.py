"""Residuals of the statistics that other packages add."""

import re
from collections.abc import Sequence

import numpy as np

from kdescent_dist.report.data.labels import bin_title
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.data.statistics import statistics_of
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot
from kdescent_dist.report.plots.residuals import CLIP, draw_distribution


def plot_further_residuals(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the distribution of the residuals of each further statistic, in each bin."""
    plots = []
    colors = style.statistic_colors(statistics_of(bins))
    for name in dict.fromkeys(name for bin_ in bins for name in bin_.further):
        slug = re.sub(r"[^A-Za-z0-9]+", "-", name)
        own = [b for b in bins if name in b.further and np.isfinite(b.further[name].model).any()]
        plots += [
            _histograms(f"{stem}_{slug}{suffix}", name, page, colors[name])
            for suffix, page in style.pages(own, 24)
        ]
    return plots


def _histograms(stem: str, name: str, bins: Sequence[Bin], color: str) -> Plot:
    columns = style.panels_per_row(len(bins))
    width = min(style.WIDTH / columns, 3.6)
    figure, axes = style.small_multiples(len(bins), columns, (width, 0.62 * width + 0.45))
    for ax, bin_ in zip(axes, bins, strict=True):
        residuals = bin_.further[name]
        number = np.count_nonzero(np.isfinite(residuals.model))
        label = f"{residuals.chisq('model'):.2f} of {number:,}"
        draw_distribution(ax, [(residuals.model, color, "-")], label)
        style.title(ax, bin_title(bin_, bins))
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
