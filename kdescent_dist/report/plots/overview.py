"""The goodness of fit of many bins: its distribution over bins, and its map over a grid."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kdescent_dist.report.data.labels import MINUS
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.data.statistics import heading, statistics_of
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.grid import Field, plot_cells
from kdescent_dist.report.plots.panel import Panel, Plot, named_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 6  # fewest bins to draw; for fewer bins, the table is enough


def plot_distribution(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the distribution of the reduced chi-square over bins, and its relation to bin size."""
    drawn = _drawn(bins)
    if len(bins) < FEWEST or not drawn:
        return []
    sized = any(b.n_training for b in bins)
    width = style.WIDTH / 2
    figure, axes = style.small_multiples(
        1 + sized, 2, (width, 2.7), sharex=False, sharey=False, extra_height=0.35
    )
    every = [v for name in drawn for v in _finite(bins, name, "guess") + _finite(bins, name, "fit")]
    low, high = 0.8 * max(min(every), 1e-2), 1.25 * min(max(every), 1e4)
    edges = np.geomspace(low, high, int(np.clip(2 * len(bins) ** 0.5, 12, 40)) + 1)
    for name, color in drawn.items():
        guess, fit = _finite(bins, name, "guess"), _finite(bins, name, "fit")
        for values, line, thick in ((guess, ":", 1.1), (fit, "-", 1.6)):
            numbers, _ = np.histogram(np.clip(values, low, high), edges)
            axes[0].stairs(numbers, edges, color=color, ls=line, lw=thick)
    axes[0].set_xscale("log")
    axes[0].axvline(1.0, color="black", lw=0.8)
    axes[0].set_xlabel("reduced chi-square", fontsize=style.FONT)
    axes[0].set_ylabel("bins", fontsize=style.FONT)
    style.set_log_ticks(axes[0].xaxis, *axes[0].xaxis.get_view_interval())
    if sized:
        _draw_against_size(axes[1], bins, drawn)
    style.legend(figure, _handles(drawn))
    left = "left; dotted" if sized else "dotted"
    caption = (
        f"Reduced chi-square of the {len(bins)} bins: their distribution ({left}: at the guess)"
    )
    if sized:
        caption += (
            " and, of the fit, against the training samples in the bin (right). Where the bins "
            "with the most samples fit worst, the model lacks something that the errors of small "
            "bins hide"
        )
    return [Plot(stem, figure, caption + ".")]


def _draw_against_size(ax: "Axes", bins: Sequence[Bin], drawn: Mapping[str, str]) -> None:
    for name, color in drawn.items():
        pairs = [(b.n_training, _chisq(b, name, "fit")) for b in bins]
        known = np.array([(n, v) for n, v in pairs if n > 0 and np.isfinite(v)]).reshape(-1, 2)
        ax.plot(*known.T, "." if len(bins) > 60 else "o", ms=4, color=color, mew=0, alpha=0.7)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.axhline(1.0, color="black", lw=0.8)
    ax.set_xlabel("training samples in the bin", fontsize=style.FONT)
    ax.set_ylabel("reduced chi-square of the fit", fontsize=style.FONT)
    for axis in (ax.xaxis, ax.yaxis):
        style.set_log_ticks(axis, *axis.get_view_interval())


def plot_grid(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the reduced chi-square, the size and the weight of each bin of one grid."""
    if len(bins) < FEWEST or len({b.group for b in bins}) > 1:
        return []
    drawn = _drawn(bins)
    chisq = {heading(name): np.array([_chisq(b, name, "fit") for b in bins]) for name in drawn}
    ratio = np.array([b.ratio for b in bins])
    worst = {"worst": np.array([b.worst for b in bins])}
    fields = []
    if chisq:
        one = len(bins[0].window) == 2
        fields.append(
            Field(
                "reduced chi-square of the fit",
                worst if one else chisq,
                colormap="YlOrBr",
                line=1.0,
                colors=(style.DATA,) if one else tuple(drawn.values()),
            )
        )
    if sized := any(b.n_training for b in bins):
        counts = {"n": np.array([b.n_training for b in bins], float)}
        fields.append(Field("training samples", counts))
    if np.isfinite(ratio).any():
        fields.append(Field("weight, model / data", {"ratio": ratio}, "ratio", "PuOr_r", 1.0))
    if not fields:
        return []
    caption = "Each bin at its place in the grid: the reduced chi-square of the fit"
    if len(bins[0].window) == 2 and len(chisq) > 1:
        caption += f" (the largest of those of {', '.join(chisq)})"
    caption += ", and the number of training samples." if sized else "."
    return [plot_cells(stem, bins, fields, caption)]


def _drawn(bins: Sequence[Bin]) -> dict[str, str]:
    """The color of each statistic whose reduced chi-square of the fit is known in any bin."""
    colors = style.statistic_colors(statistics_of(bins))
    return {name: color for name, color in colors.items() if _finite(bins, name, "fit")}


def _chisq(bin_: Bin, name: str, which: Literal["guess", "fit"]) -> float:
    found = bin_.statistics.get(name)
    return float("nan") if found is None else found.chisq(which)


def _finite(bins: Sequence[Bin], name: str, which: Literal["guess", "fit"]) -> list[float]:
    values = (_chisq(b, name, which) for b in bins)
    return [v for v in values if np.isfinite(v) and v > 0]


def _handles(drawn: Mapping[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    lines = drawn.items()
    handles = [Line2D([], [], color=color, lw=1.6, label=heading(name)) for name, color in lines]
    return [*handles, Line2D([], [], color="black", lw=0.8, label="as expected of a perfect model")]


def _draw(run: Run) -> list[Plot]:
    grids = (plot_grid(stem, bins) for _, stem, bins in named_groups("overview", run.bins))
    return [*plot_distribution("overview", run.bins), *(plot for grid in grids for plot in grid)]


PANEL = Panel(
    "bins",
    "Bins, worst first",
    f"Reduced chi-square: the mean of ((model {MINUS} data) / error)\N{SUPERSCRIPT TWO} over all "
    "kernels, over the real and imaginary parts of all Fourier modes, and over all points of "
    "another statistic. Errors include the noise of the data and of the model samples; counts "
    "whose error is 0 are left out. For a perfect model it is near 1, and 0.3% of the residuals "
    "are beyond 3 errors.",
    _draw,
    link="Bins",
    stems=("overview",),
    template="bins_panel.html.j2",
)
