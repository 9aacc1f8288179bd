"""The weight in each bin: data, model, and their ratio."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdescent_dist.report.data.labels import safe
from kdescent_dist.report.data.records import Bin, Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot


def plot_numbers(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the weights of data and model, and their ratio, in bins whose loss has the weight."""
    counted = [b for b in bins if b.counted]
    return [
        _numbers(f"{stem}{kind}{suffix}", page)
        for kind, share in (("", False), ("_shares", True))
        for suffix, page in style.pages([b for b in counted if b.share == share], 40)
    ]


def _numbers(stem: str, bins: Sequence[Bin]) -> Plot:
    figure, (total, ratio) = style.small_multiples(
        2, 2, (style.WIDTH / 2, 0.23 * len(bins) + 0.5), sharex=False, extra_height=0.7
    )
    rows = np.arange(len(bins))
    training, guess, fit = (
        np.array([b.sums[which] for b in bins]) for which in ("data", "guess", "fit")
    )
    noise = np.array([_relative_error(b) for b in bins])
    bars: dict[str, Any] = {"color": style.DATA, "elinewidth": 1.3, "zorder": 2}
    total.errorbar(training, rows, xerr=training * noise, fmt="o", ms=5, **bars)
    total.plot(fit, rows, "D", ms=5, color=style.FIT, zorder=3)
    total.plot(guess, rows, "o", ms=4, mfc="none", mew=0.9, color=style.GUESS)
    everything = np.concatenate([training, fit, guess])
    if everything.min() > 0 and everything.max() > 10 * everything.min():
        total.set_xscale("log")
        total.xaxis.set_minor_formatter("")
    what = "share of all weight in the bin" if bins[0].share else "total weight in the bin"
    total.set_xlabel(what, fontsize=style.FONT)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio.plot(fit / training, rows, "D", ms=5, color=style.FIT, zorder=3)
    ratio.errorbar(np.ones(len(bins)), rows, xerr=noise, fmt="none", **bars)
    ratio.axvline(1.0, color=style.DATA, lw=0.8)
    ratio.set_xlabel("model / data", fontsize=style.FONT)
    names = [safe(b.name) for b in bins]
    total.set_yticks(rows, names, fontsize=8)
    total.set_ylim(len(bins) - 0.5, -0.5)
    for ax in (total, ratio):
        ax.grid(axis="y", lw=0.4, color=style.FAINT)
        ax.set_axisbelow(True)
    style.legend(figure, _number_handles())
    caption = (
        f"{what.capitalize()}, of the data and of the model (left), and the ratio of the fitted "
        f"model to the data (right).{_bars_in_words(bins)}"
    )
    return Plot(stem, figure, caption)


def _relative_error(bin_: Bin) -> float:
    """Relative error of the weight of the data: the given error, or Poisson noise."""
    if bin_.weight_err is None:
        # Poisson noise of the number of samples, a lower limit for weighted samples.
        return 1.0 / float(np.sqrt(max(bin_.n_training, 1)))
    return bin_.weight_err / bin_.sums["data"] if bin_.sums["data"] > 0 else 0.0


def _bars_in_words(bins: Sequence[Bin]) -> str:
    """A sentence on the error bars, empty if there are no bars."""
    counted = any(b.weight_err is None for b in bins)
    given = any(b.weight_err for b in bins)
    if counted and given:
        return " Bars: Poisson noise of the data, or the error that is given with the data."
    if counted:
        return " Bars: Poisson noise of the data."
    return " Bars: the error that is given with the data." if given else ""


def _number_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    def dot(marker: str, color: str, label: str, **style: Any) -> Any:
        return Line2D([], [], ls="", marker=marker, ms=5, color=color, label=label, **style)

    return [
        dot("o", style.DATA, "data"),
        dot("D", style.FIT, "model, fitted"),
        dot("o", style.GUESS, "model at the guess", mfc="none"),
    ]


def _draw(run: Run) -> list[Plot]:
    return plot_numbers("numbers", run.shown)


PANEL = Panel("numbers", "Numbers in the bins", "", _draw, link="Numbers")
