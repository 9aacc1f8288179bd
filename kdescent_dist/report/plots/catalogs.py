"""Histograms of the columns that a fit uses, in the training catalog and the model's input."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.comparison import Samples
from kdescent_dist.report.data.inspection import Inspection
from kdescent_dist.report.data.labels import column_label
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.density import percentiles
from kdescent_dist.report.plots.panel import Panel, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INTERVALS = 60
WEIGHTS = "weight"


def plot_catalogs(
    stem: str, samples: Mapping[str, Samples], bins: Sequence[Bin], *, own_input: bool
) -> list[Plot]:
    """Draw each column that is used, and the weights unless all are equal.

    Args:
        stem: start of the file names.
        samples: ``data`` and, if the model has an input catalog, ``input``.
        bins: all bins, whose edges are marked.
        own_input: whether the input catalog is not the training catalog.
    """
    data, given = _columns(samples.get("data")), _columns(samples.get("input"))
    if not own_input:  # both are rows of one catalog: draw each column once
        data, given = {**given, **data}, {}
    names = list(dict.fromkeys([*data, *given]))
    edges: dict[str, list[float]] = {}
    for bin_ in bins:
        for name, window in bin_.window.items():
            edges.setdefault(name, []).extend(window)
    plots = []
    for suffix, page in style.pages(names, 16):
        per_row = style.panels_per_row(len(page))
        width = min(style.WIDTH / per_row, 3.6)
        figure, axes = style.small_multiples(
            len(page), per_row, (width, 0.62 * width + 0.45), sharex=False, sharey=False
        )
        for ax, name in zip(axes, page, strict=True):
            _draw(ax, name, data.get(name), given.get(name), edges.get(name, []))
        style.legend(figure, _handles(bool(given), bool(edges)))
        caption = (
            "The columns that are used, weighted, after the selection; beside their names the "
            "smallest and the largest value. Histograms stop at 0.5% of the weight on each side."
        )
        plots.append(Plot(stem + suffix, figure, caption))
    return plots


def _columns(samples: Samples | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Names of columns to values and weights; unequal weights are a further column."""
    if samples is None:
        return {}
    weights = samples.weights.astype(float)
    columns = {name: (values.astype(float), weights) for name, values in samples.x.items()}
    if np.ptp(weights) > 1e-6 * weights.max():
        columns[WEIGHTS] = (weights, np.ones(len(weights)))
    return columns


def _draw(
    ax: "Axes",
    name: str,
    data: tuple[np.ndarray, np.ndarray] | None,
    given: tuple[np.ndarray, np.ndarray] | None,
    edges: list[float],
) -> None:
    known = [pair for pair in (data, given) if pair is not None]
    low, high = np.array([percentiles(*pair, (0.5, 99.5)) for pair in known]).T
    low, high = float(low.min()), float(high.max())
    margin = 0.05 * max(high - low, 1e-6 * max(abs(low), abs(high), 1e-30))
    cells = np.linspace(low - margin, high + margin, INTERVALS + 1)
    for pair, look in (
        (data, {"fill": True, "facecolor": style.DATA_FILLS[1], "edgecolor": style.DATA}),
        (given, {"color": style.FIT, "lw": 1.3}),
    ):
        if pair is not None:
            x, weights = pair
            height, _ = np.histogram(x, cells, weights=weights)
            ax.stairs(height / (weights.sum() * (cells[1] - cells[0])), cells, **look)
    inside = [e for e in sorted(set(edges)) if cells[0] <= e <= cells[-1]]
    for edge in inside:
        ax.axvline(edge, color="black", lw=0.5, ls=(0, (2, 2)), zorder=3)
    ax.set_xlim(cells[0], cells[-1])
    ax.set_ylim(bottom=0)
    ax.set_yticks([])
    values = np.concatenate([x for x, _ in known])
    label = WEIGHTS if name == WEIGHTS else column_label(name)
    style.title(ax, f"{label}   [{values.min():.3g}, {values.max():.3g}]")


def _handles(given: bool, edges: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    fill: dict[str, Any] = {"facecolor": style.DATA_FILLS[1], "edgecolor": style.DATA}
    handles: list[Any] = [Patch(label="training catalog", **fill)]
    if given:
        handles.append(Line2D([], [], color=style.FIT, lw=1.3, label="input of the model"))
    if edges:
        handles.append(Line2D([], [], color="black", lw=0.7, ls="--", label="edges of bins"))
    return handles


def _draw_catalogs(found: Inspection) -> list[Plot]:
    own = found.config.input.catalog is not None
    return plot_catalogs("catalog", found.samples, found.bins, own_input=own)


PANEL = Panel("catalog", "Catalog", "", _draw_catalogs, template="catalog_panel.html.j2")
