"""Numbers of the bins of one grid, drawn along one column, or on a map of two columns."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kdescent_dist.report.data.labels import column_label
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (style.DATA, style.FIT, style.KDE, style.FOURIER)
CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))  # corners of a cell in order, low or high in x and y
ROOM = (0.33, 0.14)  # least size (x, y) in inches of a cell of a map with a number in it


@dataclass(frozen=True)
class Field:
    """Numbers of bins, drawn in one panel.

    Attributes:
        label: title of the panel.
        values: names of lines to (bins,) numbers; a map shows the first line.
        kind: ``log`` for positive numbers over decades, ``ratio`` for ratios around 1.
        colormap: colormap of a map.
        line: a number to mark, if any.
        colors: colors of the lines, in order.
    """

    label: str
    values: Mapping[str, np.ndarray]
    kind: Literal["log", "ratio"] = "log"
    colormap: str = "Blues"
    line: float | None = None
    colors: Sequence[str] = COLORS


def conditions(bins: Sequence[Bin]) -> list[str]:
    """The conditional columns of the bins of a grid, empty if the bins differ in their columns."""
    columns = [list(b.window) for b in bins]
    return columns[0] if all(c == columns[0] for c in columns) else []


def plot_cells(stem: str, bins: Sequence[Bin], fields: Sequence[Field], caption: str) -> Plot:
    """Draw numbers of the bins of one grid.

    Bins of one conditional column are drawn along the column, bins of two columns as a map, and
    other bins in order.

    Args:
        stem: name of the file.
        bins: bins of one grid.
        fields: numbers to draw, one panel each.
        caption: description of the numbers.
    """
    columns = conditions(bins)
    as_map = len(columns) == 2
    per_row = min(len(fields), 3 if as_map else 2)
    width = min(style.WIDTH / per_row, 5.5)
    size = (width, (0.8 if as_map else 0.55) * width + 0.2)
    figure, axes = style.small_multiples(
        len(fields), per_row, size, sharey=as_map, extra_height=0.35
    )
    for ax, drawn in zip(axes, fields, strict=True):
        (_draw_map if as_map else _draw_lines)(ax, bins, columns, drawn, width)
        style.title(ax, drawn.label)
    across = column_label(columns[0]) if len(columns) in (1, 2) else "number of the bin"
    figure.supxlabel(across, fontsize=style.FONT + 1)
    if as_map:
        figure.supylabel(column_label(columns[1]), fontsize=style.FONT + 1)
    return Plot(stem, figure, caption)


def _draw_lines(
    ax: "Axes", bins: Sequence[Bin], columns: Sequence[str], drawn: Field, width: float
) -> None:
    del width
    if len(columns) == 1:
        edges = np.array([b.window[columns[0]] for b in bins], float)
    else:
        edges = np.array([[b.number - 0.5, b.number + 0.5] for b in bins])
    everything = []
    for (name, values), color in zip(
        drawn.values.items(), itertools.cycle(drawn.colors), strict=False
    ):
        known = np.isfinite(values) & (values > 0)
        everything.append(values[known])
        ax.plot(edges[known].mean(axis=1), values[known], color=color, lw=0.5, alpha=0.6)
        ax.hlines(values[known], *edges[known].T, color=color, lw=1.8, label=name)
    if drawn.line is not None:
        ax.axhline(drawn.line, color="black", lw=0.8, zorder=1)
        everything.append(np.array([drawn.line]))
    low, high = _range(np.concatenate(everything))
    if high > 5 * low:
        ax.set_yscale("log")
        style.set_log_ticks(ax.yaxis, low, high)
    if len(drawn.values) > 1:
        ax.legend(fontsize=8, frameon=False, loc="best", handlelength=1.6)


def _draw_map(
    ax: "Axes", bins: Sequence[Bin], columns: Sequence[str], drawn: Field, width: float
) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import LogNorm

    values = np.asarray(next(iter(drawn.values.values())), float)
    known = np.isfinite(values) & (values > 0)
    low, high = _range(values[known])
    if drawn.kind == "ratio":  # symmetric around 1
        high = max(high, 1 / low)
        low = 1 / high
    norm, colors = LogNorm(low, high), colormaps[drawn.colormap]
    faces = [colors(norm(v)) if k else (1, 1, 1, 1) for v, k in zip(values, known, strict=True)]
    windows = np.array([[b.window[c] for c in columns] for b in bins], float)  # (bins, 2, 2)
    corners = np.stack([windows[:, [0, 1], [i, j]] for i, j in CORNERS], axis=1)
    ax.add_collection(
        PolyCollection(list(corners), facecolors=faces, edgecolors="white", linewidths=0.4)
    )
    ax.autoscale_view()
    ax.margins(0)
    # Cells fill about three quarters of the panel. Numbers are drawn if the smallest cell has room.
    whole = windows[..., 1].max(axis=0) - windows[..., 0].min(axis=0)
    smallest = (windows[..., 1] - windows[..., 0]).min(axis=0) / whole
    if np.all(0.75 * width * smallest > ROOM):
        for middle, value, face in zip(windows.mean(axis=2), values, faces, strict=True):
            dark = np.dot(face[:3], (0.3, 0.6, 0.1)) < 0.5
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
            color = "white" if dark else "black"
            ax.text(middle[0], middle[1], style.short(value), color=color, **look)
    bar = ax.figure.colorbar(ScalarMappable(norm, colors), ax=ax, pad=0.02, aspect=25)
    bar.ax.tick_params(labelsize=8, which="both")
    style.set_log_ticks(bar.ax.yaxis, low, high)


def _range(values: np.ndarray) -> tuple[float, float]:
    """The range of positive numbers, widened if it is too narrow to draw."""
    if not values.size:
        return 1.0, 1.1
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > 1.1 * low else (low / 1.05, high * 1.05)
