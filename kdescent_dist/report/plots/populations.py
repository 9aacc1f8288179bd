"""The fit against the data in each bin: contours of two columns, or histograms of one column."""

from collections.abc import Mapping, Sequence

from kdescent_dist.report.data.comparison import Samples
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.contours import plot_contours, plot_pairs
from kdescent_dist.report.plots.density import robust_limits
from kdescent_dist.report.plots.histograms import plot_histograms
from kdescent_dist.report.plots.panel import Panel, Plot, draw_groups
from kdescent_dist.report.plots.selected import BEFORE, MODEL, Selected, select


def plot_bins(stem: str, bins: Sequence[Bin], samples: Mapping[str, Samples]) -> list[Plot]:
    """Draw the data and the model in each bin of one group.

    Args:
        stem: start of the names of the files.
        bins: bins of equal columns.
        samples: ``data``, ``guess`` and ``fit``. Without a fit, the guess is drawn as the model.
    """
    selected = select(bins, samples)
    dims = len(bins[0].columns)
    limits = [_limits(selected, i) for i in range(dims)]
    if dims == 1:
        pages = style.pages(selected, 12)
        return [plot_histograms(stem + suffix, page, limits[0]) for suffix, page in pages]
    draw, most = (plot_contours, 16) if dims == 2 else (plot_pairs, 4)
    pages = style.pages(selected, most)
    return [draw(stem + suffix, page, limits) for suffix, page in pages]


def _limits(selected: Sequence[Selected], column: int) -> tuple[float, float]:
    """Limits of a column that hold for all bins of a group."""

    def weighted(which: str) -> list:
        found = (s.samples[which] for s in selected if which in s.samples)
        return [(x[:, column], weights) for x, weights in found]

    return robust_limits(weighted("data"), weighted(MODEL), weighted(BEFORE))


def _draw(run: Run) -> list[Plot]:
    return draw_groups("fit", run.shown, lambda stem, bins: plot_bins(stem, bins, run.samples))


PANEL = Panel("fit", "Fit against the data", "", _draw, template="fit_panel.html.j2")
