"""Coverage of the stated errors: fits of catalogs that were drawn from the fitted model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.report.data.labels import safe
from kdescent_dist.report.data.records import Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot

MOST = 40  # parameters of a figure

TEXT = (
    "Catalogs were drawn from the fitted model and fitted like the data. Errors can be trusted "
    "where the bias is near 0, the scatter of the fits is that of the stated errors, and 68% and "
    "95% of the intervals hold the truth."
)


def plot_coverage(stem: str, coverage: Mapping[str, Any]) -> list[Plot]:
    """Draw bias, scatter and coverage of each parameter.

    Args:
        stem: start of the names of the files.
        coverage: the contents of ``coverage.json``.
    """
    parameters = coverage["parameters"]
    return [
        _coverage(stem + suffix, coverage, page)
        for suffix, page in style.pages(list(parameters), MOST)
    ]


def _coverage(stem: str, coverage: Mapping[str, Any], names: Sequence[str]) -> Plot:
    figure, (bias, scatter, covers) = style.small_multiples(
        3, 3, (style.WIDTH / 3, 0.25 * len(names) + 0.7), sharex=False, extra_height=0.5
    )
    rows = np.arange(len(names))
    found = [coverage["parameters"][name] for name in names]
    in_errors = np.array([np.array(one["bias"]) / one["stated"] for one in found])
    _draw_column(bias, rows, in_errors, 0.0, "bias / stated error")
    relative = np.array([one["scatter_over_stated"] for one in found])
    _draw_column(scatter, rows, relative, 1.0, "scatter / stated error")
    for level, color, marker, offset in (
        ("68", style.FIT, "o", -0.13),
        ("95", style.KDE, "D", 0.13),
    ):
        share = np.array([one[f"within_{level}"] for one in found])
        covers.axvline(int(level), color=color, lw=0.9, ls="--", zorder=1)
        covers.errorbar(
            *(100 * share[:, 0], rows + offset),
            xerr=100 * share[:, 1],
            **{"fmt": marker, "ms": 4.5, "color": color, "elinewidth": 1.2, "zorder": 2},
        )
    covers.set_xlabel("intervals with the truth, %", fontsize=style.FONT)
    labels = [
        safe(name) + (" (prior)" if one.get("prior") else "")
        for name, one in zip(names, found, strict=True)
    ]
    bias.set_yticks(rows, labels, fontsize=8)
    bias.set_ylim(len(names) - 0.5, -0.5)
    for ax in (bias, scatter, covers):
        ax.grid(axis="y", lw=0.4, color=style.FAINT)
        ax.set_axisbelow(True)
    style.legend(figure, _handles())
    counts = "{fits} catalogs: {converged} fits converged, {failed} failed.".format(**coverage)
    caption = (
        f"{counts} Bars: Monte Carlo errors, from the number of catalogs. Dashed: what honest "
        "errors have."
    )
    for note in coverage.get("notes", ()):
        caption += f" {note[0].upper()}{note[1:]}."
    return Plot(stem, figure, caption)


def _draw_column(ax: Any, rows: np.ndarray, pairs: np.ndarray, right: float, label: str) -> None:
    ax.axvline(right, color=style.TRUTH, lw=0.9, ls="--", zorder=1)
    bars: dict[str, Any] = {"fmt": "o", "ms": 4.5, "color": style.DATA, "elinewidth": 1.2}
    ax.errorbar(pairs[:, 0], rows, xerr=pairs[:, 1], zorder=2, **bars)
    beyond = 1.15 * max(float(np.max(np.abs(pairs[:, 0] - right) + pairs[:, 1])), 1e-3)
    ax.set_xlim(right - beyond, right + beyond)
    ax.set_xlabel(label, fontsize=style.FONT)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    def dot(marker: str, color: str, label: str) -> Any:
        return Line2D([], [], ls="", marker=marker, ms=5, color=color, label=label)

    return [
        dot("o", style.DATA, "fits"),
        dot("o", style.FIT, "within 1 stated error (68%)"),
        dot("D", style.KDE, "within 1.96 (95%)"),
    ]


def _draw(run: Run) -> list[Plot]:
    if not run.coverage.get("parameters"):
        return []
    return plot_coverage("coverage", run.coverage)


PANEL = Panel("coverage", "Coverage of the errors", TEXT, _draw, link="Coverage")
