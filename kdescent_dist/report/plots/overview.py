"""How well many bins are fitted: the distribution over them, and where in a grid they lie."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdescent_dist.report.data.labels import MINUS
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.grid import Field, plot_cells
from kdescent_dist.report.plots.panel import Panel, Plot, named_groups

FEWEST = 6  # bins of which there is more to see than in their table
KINDS = (("kde", "kernel counts (KDE)", style.KDE), ("fourier", "Fourier counts", style.FOURIER))


def plot_distribution(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw how the reduced chi-squares are distributed over bins, and against their size."""
    drawn = [(kind, label, color) for kind, label, color in KINDS if _finite(bins, kind, "fit")]
    if len(bins) < FEWEST or not drawn:
        return []
    figure, (spread, against) = style.small_multiples(
        2, 2, (style.WIDTH / 2, 2.7), sharex=False, sharey=False, extra_height=0.35
    )
    every = [
        v for kind, _, _ in drawn for which in ("guess", "fit") for v in _finite(bins, kind, which)
    ]
    low, high = 0.8 * max(min(every), 1e-2), 1.25 * min(max(every), 1e4)
    edges = np.geomspace(low, high, int(np.clip(2 * len(bins) ** 0.5, 12, 40)) + 1)
    for kind, _, color in drawn:
        for which, line, width in (("guess", ":", 1.1), ("fit", "-", 1.6)):
            values = np.clip(_finite(bins, kind, which), low, high)
            spread.stairs(np.histogram(values, edges)[0], edges, color=color, ls=line, lw=width)
        pairs = [(b.n_training, getattr(b, kind).chisq("fit")) for b in bins]
        known = np.array([(n, v) for n, v in pairs if n > 0 and np.isfinite(v)]).reshape(-1, 2)
        against.plot(*known.T, "." if len(bins) > 60 else "o", ms=4, color=color, mew=0, alpha=0.7)
    spread.set_xscale("log")
    spread.axvline(1.0, color="black", lw=0.8)
    spread.set_xlabel("reduced chi-square", fontsize=style.FONT)
    spread.set_ylabel("bins", fontsize=style.FONT)
    against.set_xscale("log")
    against.set_yscale("log")
    against.axhline(1.0, color="black", lw=0.8)
    against.set_xlabel("training samples in the bin", fontsize=style.FONT)
    against.set_ylabel("reduced chi-square of the fit", fontsize=style.FONT)
    for axis in (spread.xaxis, against.xaxis, against.yaxis):
        style.set_log_ticks(axis, *axis.get_view_interval())
    style.legend(figure, _handles(drawn))
    caption = (
        f"Reduced chi-square of the {len(bins)} bins: their distribution (left; dotted: at the "
        "guess) and, of the fit, against the training samples in the bin (right). Where the bins "
        "with the most samples fit worst, the model lacks something that the errors of small "
        "bins hide."
    )
    return [Plot(stem, figure, caption)]


def plot_grid(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the reduced chi-square, the size and the weight of each bin of one grid."""
    if len(bins) < FEWEST or len({b.group for b in bins}) > 1:
        return []
    chisq = {
        label: np.array([getattr(b, kind).chisq("fit") for b in bins])
        for kind, label, _ in KINDS
        if _finite(bins, kind, "fit")
    }
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
            )
        )
    counts = {"n": np.array([b.n_training for b in bins], float)}
    fields.append(Field("training samples", counts))
    if np.isfinite(ratio).any():
        fields.append(Field("weight, model / data", {"ratio": ratio}, "ratio", "PuOr_r", 1.0))
    caption = "Each bin at its place in the grid: the reduced chi-square of the fit"
    if len(bins[0].window) == 2 and len(chisq) == 2:
        caption += " (the larger of those of kernel and Fourier counts)"
    return [plot_cells(stem, bins, fields, caption + ", and the number of training samples.")]


def _finite(bins: Sequence[Bin], kind: str, which: str) -> list[float]:
    values = (getattr(b, kind).chisq(which) for b in bins)
    return [v for v in values if np.isfinite(v) and v > 0]


def _handles(drawn: Sequence[tuple[str, str, str]]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, lw=1.6, label=label) for _, label, color in drawn]
    return [*handles, Line2D([], [], color="black", lw=0.8, label="as expected of a perfect model")]


def _draw(run: Run) -> list[Plot]:
    grids = (plot_grid(stem, bins) for _, stem, bins in named_groups("overview", run.bins))
    return [*plot_distribution("overview", run.bins), *(plot for grid in grids for plot in grid)]


PANEL = Panel(
    "bins",
    "Bins, worst first",
    f"Reduced chi-square: the mean of ((model {MINUS} data) / error)\N{SUPERSCRIPT TWO} over all "
    "kernels, and over the real and imaginary parts of all Fourier modes. Errors include the noise "
    "of the data and of the model samples; counts whose error is 0 are left out. For a perfect "
    "model it is near 1, and 0.3% of the residuals are beyond 3 errors.",
    _draw,
    link="Bins",
    stems=("overview",),
    template="bins_panel.html.j2",
)
