"""The covariance of the fitted parameters: a matrix of correlations, and a corner plot."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdescent_dist.config.schema import ParameterConfig
from kdescent_dist.report.data.covariance import ParameterCovariance
from kdescent_dist.report.data.labels import MINUS, safe
from kdescent_dist.report.data.records import Run
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Panel, Plot

MOST_IN_CORNER = 10  # parameters of a corner plot
MOST_NAMED = 60  # parameters whose names find room at a matrix
MOST_WRITTEN = 14  # parameters whose correlations find room in the cells of a matrix
DRAWS = 50_000  # of the normal distribution that a corner plot shows
ENCLOSED = (0.393, 0.865)  # within one and two standard deviations, in two dimensions


def plot_correlations(
    stem: str, found: ParameterCovariance, parameters: Mapping[str, ParameterConfig]
) -> Plot:
    """Draw the correlation of each pair of parameters."""
    number = len(found.names)
    side = float(np.clip(1.6 + (0.5 if number <= MOST_WRITTEN else 0.13) * number, 3.4, 8.0))
    figure, (ax,) = style.small_multiples(1, 1, (side + 0.6, side), extra_height=0.0)
    image = ax.imshow(found.correlation, cmap="PuOr", vmin=-1, vmax=1)
    bar = figure.colorbar(image, ax=ax, shrink=0.7)
    bar.set_label("correlation", fontsize=style.FONT)
    bar.ax.tick_params(labelsize=8)
    ax.set_xticks([])
    ax.set_yticks([])
    named = number <= MOST_NAMED
    if named:
        labels = _labels(found.names, parameters)
        ax.set_xticks(range(number), labels, rotation=90)
        ax.set_yticks(range(number), labels)
    if number <= MOST_WRITTEN:
        for (i, j), value in np.ndenumerate(found.correlation):
            color = "white" if abs(value) > 0.6 else "black"
            text = f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)  # no "-0.00"
            ax.text(j, i, text, color=color, ha="center", va="center", fontsize=8)
    caption = "Correlations of the errors of all parameters that have one"
    if not named:
        caption += ", in the order of covariance.npz"
    return Plot(stem, figure, f"{caption}.")


def plot_corner(
    stem: str, found: ParameterCovariance, parameters: Mapping[str, ParameterConfig]
) -> Plot:
    """Draw the normal distribution of the covariance for the most correlated parameters."""
    import corner
    from matplotlib.figure import Figure

    shown = most_correlated(found.correlation, MOST_IN_CORNER)
    names = [found.names[i] for i in shown]
    truths = [parameters[name].truth for name in names]
    errors, fit = found.errors[shown], found.params[shown]
    rng = np.random.default_rng(0)
    normal = rng.multivariate_normal(
        np.zeros(len(shown)), found.correlation[np.ix_(shown, shown)], DRAWS, method="eigh"
    )
    side = float(np.clip(0.7 + 1.25 * len(shown), 3.2, style.WIDTH))
    figure = Figure(figsize=(side, side), dpi=style.DPI, facecolor="white")
    corner.corner(
        fit + errors * normal,
        fig=figure,
        range=[_limits(*one) for one in zip(fit, errors, truths, strict=True)],
        truths=truths if any(truth is not None for truth in truths) else None,
        truth_color=style.TRUTH,
        color=style.FIT,
        levels=ENCLOSED,
        bins=30,
        smooth=1.0,
        smooth1d=1.0,
        plot_datapoints=False,
        plot_density=False,
        fill_contours=True,
        max_n_ticks=3,
        hist_kwargs={"lw": 1.2},
    )
    axes = np.reshape(np.array(figure.axes), (len(shown), len(shown)))
    for i, label in enumerate(_labels(names, parameters)):
        slanted = {"rotation": 45, "ha": "right"} if len(shown) > 4 else {}
        axes[-1, i].set_xlabel(label, fontsize=style.FONT, **slanted)
        if i:
            axes[i, 0].set_ylabel(label, fontsize=style.FONT, rotation=0, ha="right", va="center")
    for ax in figure.axes:
        ax.tick_params(labelsize=8)
    # The margins that the labels need, which corner does not know.
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    caption = (
        "The normal distribution of the parameters by their covariance around the fit, within one "
        "and two standard deviations"
    )
    if len(shown) < len(found.names):
        caption += (
            f", for {len(shown)} of {len(found.names)} parameters: those with the largest "
            "correlations"
        )
    if any(truth is not None for truth in truths):
        caption += ". Black lines: the truth, where it is known"
    return Plot(f"{stem}_corner", figure, f"{caption}.")


def most_correlated(correlation: np.ndarray, most: int) -> list[int]:
    """Indices, in order, of the parameters with the largest correlation with any other."""
    others = np.abs(correlation) - np.eye(len(correlation))
    ranked = np.argsort(-others.max(axis=1), kind="stable")
    return sorted(ranked[:most].tolist())


def _limits(fit: float, error: float, truth: float | None) -> tuple[float, float]:
    """Three errors around the fit, and more where the truth is within six."""
    reach = 3.2
    if truth is not None and abs(truth - fit) < 6 * error:
        reach = max(reach, 1.1 * abs(truth - fit) / error)
    return fit - reach * error, fit + reach * error


def _labels(names: Sequence[str], parameters: Mapping[str, ParameterConfig]) -> list[str]:
    return [safe(parameters[name].label or name) for name in names]


def _draw(run: Run) -> list[Plot]:
    found, parameters = run.covariance, run.parameters.by_name()
    if found is None or len(found.names) < 2 or not {*found.names} <= parameters.keys():
        return []
    return [
        plot_correlations("covariance", found, parameters),
        plot_corner("covariance", found, parameters),
    ]


PANEL = Panel(
    "covariance",
    "Covariance of the parameters",
    "The error of a parameter is its error while the others are not known either. Two parameters "
    f"with a correlation near 1 or {MINUS}1 are known in a combination only. The covariance itself "
    "is in covariance.npz and, of up to 50 parameters, in result.json.",
    _draw,
    link="Covariance",
)
