"""Common style of the plots of a report: colors, panels, titles and legends.

Figures use the object-oriented API of matplotlib and never touch its global state.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kdescent_dist.report.plots.density import ENCLOSED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DPI = 110
FONT = 9.0  # points; nothing in a figure is smaller than 8
WIDTH = 9.0  # inches of a full-width figure

# Data are blue-gray and models orange: color-blind readers and gray prints distinguish them.
DATA_FILLS = ("#e3e9f0", "#b9c7d9", "#869cb8")
DATA = "#4a6588"
FIT = "#d95f02"
GUESS = "#737373"
TRUTH = "#1a1a1a"
KDE = "#0b5fa5"
FOURIER = "#aa3377"
FURTHER = ("#2c7f62", "#8a6d00", "#6a51a3")  # colors of further statistics, in order
FAINT = "#d0d0d0"

Share = bool | Literal["none", "all", "row", "col"]


def pages(items: Sequence[Any], most: int, per_row: int = 1) -> Iterator[tuple[str, Sequence[Any]]]:
    """Split a list into pages of nearly equal length; all pages but the last have full rows.

    Yields:
        A suffix of a file name ("" if there is only one page) and the items of the page.
    """
    number = -(-len(items) // most)
    size = -(-len(items) // max(number, 1))
    size = -(-size // per_row) * per_row
    for page in range(number):
        suffix = f"_{page + 1}" if number > 1 else ""
        yield suffix, items[page * size : (page + 1) * size]


def panels_per_row(number: int) -> int:
    """Choose three or four panels per row, so that the last row has the fewest gaps."""
    if number <= 4:
        return number
    return 3 if -number % 3 < -number % 4 or number in (6, 9) else 4


def small_multiples(
    number: int,
    columns: int,
    panel: tuple[float, float],
    *,
    sharex: Share = True,
    sharey: Share = True,
    extra_height: float = 0.5,
) -> tuple["Figure", list["Axes"]]:
    """Make a figure of equal panels, filled row by row.

    Args:
        number: number of panels.
        columns: number of panels per row.
        panel: width and height of a panel in inches, with its labels.
        sharex, sharey: as in ``Figure.subplots``.
        extra_height: inches left for a legend and the labels of the figure.
    """
    from matplotlib.figure import Figure

    columns = min(columns, number)
    rows = -(-number // columns)
    size = (columns * panel[0], rows * panel[1] + extra_height)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[number:]:
        unused.remove()
    if sharex is True:
        for above_nothing in axes[max(number - columns, 0) : number]:
            above_nothing.tick_params(labelbottom=True)
    for ax in axes[:number]:
        tidy(ax)
    return figure, axes[:number]


def panels_of_bins(number: int, aspect: float) -> tuple["Figure", list["Axes"]]:
    """Make a figure of one panel for each bin, with a height of ``aspect`` widths."""
    per_row = panels_per_row(number)
    width = min(WIDTH / per_row, 4.2)
    return small_multiples(number, per_row, (width, aspect * width + 0.2))


def statistic_colors(names: Iterable[str]) -> dict[str, str]:
    """Names of statistics to colors."""
    shipped = {"kde": KDE, "fourier": FOURIER}
    further = itertools.cycle(FURTHER)
    return {name: shipped[name] if name in shipped else next(further) for name in names}


def tidy(ax: "Axes") -> None:
    """Set the look of one panel."""
    ax.tick_params(labelsize=8, length=3, width=0.6, color="#888888", direction="out")
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color="#888888")
    ax.locator_params(nbins=5, tight=False)


def title(ax: "Axes", text: str, color: str = "black") -> None:
    ax.set_title(text, loc="left", fontsize=FONT - 0.5, pad=4, color=color, linespacing=1.15)


def legend(figure: "Figure", handles: Sequence[Any]) -> None:
    """Put one legend above all panels of a figure."""
    figure.legend(
        handles=list(handles),
        loc="outside upper center",
        # A narrow figure has no room for all entries in one line.
        ncols=len(handles) if figure.get_figwidth() > 5.5 else 1,
        fontsize=FONT,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.6,
    )


def set_log_ticks(axis: "Axis", low: float, high: float) -> None:
    """Set few ticks with plain numbers, even if the scale spans less than a decade."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    if high > 200 * low:
        axis.set_major_locator(LogLocator(numticks=6))
    else:
        steps = (
            np.geomspace(low, high, 5)
            if high < 3 * low
            else LogLocator(subs=(1.0, 2.0, 5.0), numticks=12).tick_values(low, high)
        )
        axis.set_major_locator(FixedLocator([t for t in steps if low <= t <= high]))
    text = short if high > 1.5 * low else "{:.3g}".format  # enough digits to distinguish ticks
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_locator(NullLocator())


def short(value: float) -> str:
    """A number in two or three digits, for a tick or a cell."""
    if not np.isfinite(value):
        return "\N{EN DASH}"
    if abs(value) < 100:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value < 1e5 else f"{value:.0e}".replace("e+0", "e")


def population_handles(fitted: bool = True, data: bool = True) -> list[Any]:
    """Legend entries of data as filled contours and models as lines.

    Args:
        fitted: whether there is a fit; else the guess is drawn instead.
        data: whether data are drawn.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    levels = " / ".join(f"{100 * f:.0f}" for f in reversed(ENCLOSED))
    label = f"data ({levels}% of the weight)"
    handles: list[Any] = []
    if data:
        handles = [Patch(facecolor=DATA_FILLS[1], edgecolor=DATA, label=label)]
    if not fitted:
        return [*handles, Line2D([], [], color=FIT, lw=1.5, label="model at the guess")]
    return [
        *handles,
        Line2D([], [], color=FIT, lw=1.5, label="model, fitted"),
        Line2D([], [], color=GUESS, lw=1.0, ls=":", label="model at the guess"),
    ]
