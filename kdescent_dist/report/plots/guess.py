"""The model at the guess against the data in each bin, before a fit."""

from kdescent_dist.report.data.inspection import Inspection
from kdescent_dist.report.plots.panel import Panel, Plot, draw_groups
from kdescent_dist.report.plots.populations import plot_bins
from kdescent_dist.report.plots.residuals import plot_residual_maps


def _draw(found: Inspection) -> list[Plot]:
    return [
        *draw_groups("guess", found.shown, lambda stem, bins: plot_bins(stem, bins, found.samples)),
        *draw_groups("residuals", found.shown, plot_residual_maps),
    ]


PANEL = Panel("guess", "Model at the guess", "", _draw, stems=("guess", "residuals"))
