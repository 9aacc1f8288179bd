"""The training samples in each bin of a grid, and the misfit of the guess, before a fit."""

from collections.abc import Sequence

import numpy as np

from kdescent_dist.report.data.inspection import Inspection
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.plots.grid import Field, plot_cells
from kdescent_dist.report.plots.panel import Panel, Plot, draw_groups


def plot_training_counts(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the number of training samples in each bin of a grid, and the misfit of the guess."""
    if len(bins) < 2 or len({b.group for b in bins}) > 1:
        return []
    counts = {"training samples": np.array([b.n_training for b in bins], float)}
    fields = [Field("training samples", counts, line=bins[0].min_training)]
    worst = np.array([b.worst for b in bins])
    if (worst > 0).any():
        worst = {"guess": worst}
        fields.append(Field("reduced chi-square at the guess", worst, colormap="YlOrBr"))
    caption = "Each bin at its place in the grid: its training samples"
    if len(bins[0].window) != 2:
        caption += " (black line: min_training)"
    return [plot_cells(stem, bins, fields, caption + ", and the misfit at the guess.")]


def _draw(found: Inspection) -> list[Plot]:
    return draw_groups("bins", found.bins, plot_training_counts)


PANEL = Panel("bins", "Bins", "", _draw, template="inspected_bins_panel.html.j2")
