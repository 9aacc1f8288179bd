"""Chains of the posterior: their course, and the distribution of each parameter."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kdescent_dist.report.data.labels import safe
from kdescent_dist.report.data.posterior import FILE, read_draws
from kdescent_dist.report.data.records import Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 1000  # vertices of a chain; more would not be visible
ON_A_PAGE = 12  # parameters
IN_SIGHT = 2  # visible figures; further figures are folded
CHAINS = ("#d95f02", "#8c3d00", "#f2a365", "#5e5e5e")  # in turn


def _page(stem: str, names: Sequence[str], draws: Mapping[str, np.ndarray], run: Run) -> Plot:
    pairs = 2 if len(names) > 1 else 1
    size = (style.WIDTH / (2 * pairs), 1.5)
    figure, axes = style.small_multiples(
        2 * len(names), 2 * pairs, size, sharex=False, sharey=False, extra_height=0.4
    )
    parameters = run.parameters.by_name()
    for name, course, marginal in zip(names, axes[::2], axes[1::2], strict=True):
        _draw_course(course, draws[name])
        fit = (run.result["params"][name], (run.result.get("errors") or {}).get(name))
        _draw_marginal(marginal, draws[name], fit, parameters[name].truth)
        style.title(course, safe(parameters[name].label or name))
    style.legend(figure, _handles(run, names))
    numbers = run.result["posterior"]
    caption = (
        f"Draws of {numbers['chains']} chains against their number (left of each pair), and "
        "the distribution of all draws (right)."
    )
    return Plot(stem, figure, caption)


def _draw_course(ax: "Axes", draws: np.ndarray) -> None:
    thin = np.unique(np.linspace(0, draws.shape[1] - 1, MOST_POINTS).astype(int))
    for i, chain in enumerate(draws):
        ax.plot(thin, chain[thin], color=CHAINS[i % len(CHAINS)], lw=0.4, alpha=0.8)
    ax.set_xlabel("draw", fontsize=8)


def _draw_marginal(
    ax: "Axes", draws: np.ndarray, fit: tuple[float, float | None], truth: float | None
) -> None:
    values = draws.ravel()
    low, high = np.quantile(values, [0.001, 0.999])
    number = int(np.clip(np.sqrt(values.size) / 2, 10, 50))
    ax.hist(values, bins=np.linspace(low, high, number), density=True, color=style.FIT, alpha=0.45)
    center, error = fit
    if error:
        x = np.linspace(min(low, center - 3 * error), max(high, center + 3 * error), 200)
        gauss = np.exp(-0.5 * ((x - center) / error) ** 2) / (np.sqrt(2 * np.pi) * error)
        ax.plot(x, gauss, color=style.DATA, lw=1.3)
    if truth is not None:
        ax.axvline(truth, color=style.TRUTH, lw=1.0, ls="--")
    ax.set_yticks([])


def _handles(run: Run, names: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    known = any(run.parameters.by_name()[name].truth is not None for name in names)
    truth = [Line2D([], [], color=style.TRUTH, lw=1.0, ls="--", label="truth")] if known else []
    return [
        Patch(color=style.FIT, alpha=0.45, label="posterior"),
        Line2D([], [], color=style.DATA, lw=1.3, label="fit with its error"),
        *truth,
    ]


def _draw(run: Run) -> list[Plot]:
    if not run.result.get("posterior"):
        return []
    draws = read_draws(run.directory / FILE)
    names = [name for name in run.parameters.names if name in draws]
    pages = style.pages(names, ON_A_PAGE, 2)
    plots = [_page(f"posterior{suffix}", page, draws, run) for suffix, page in pages]
    further = [replace(plot, folded="Further parameters") for plot in plots[IN_SIGHT:]]
    return [*plots[:IN_SIGHT], *further]


PANEL = Panel(
    "posterior",
    "Posterior",
    "Chains that agree look alike, and wander nowhere. Where the histogram differs from the curve, "
    "the model is not linear within the errors, or the fit was of a loss that weighs the counts "
    "otherwise.",
    _draw,
)
