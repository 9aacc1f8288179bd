"""The data of a report: samples and counts of the guess, of the fit and of the training catalog."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdescent_dist.diagnostics.population_sums import PopulationBlocks, SumsAndSquares
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.objective.residuals import Compared
from kdescent_dist.report.data.comparison import BinRecord, Comparison, Counts, Samples
from kdescent_dist.response.compared import BinComparison, difference_errors
from kdescent_dist.response.points import EvaluationPoints, subsample


def diagnose(
    problem: Problem,
    final: Any,
    *,
    samples: int,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """Compare the guess and the fit with the training catalog, in every bin.

    Args:
        problem: the fit.
        final: (P,) fitted parameters.
        samples: number of samples of each population and of the data to keep for plots.
        progress: called after each bin of each part of a population, in every process.

    Returns:
        The arrays of a ``Comparison``. Errors include the noise of the training catalog and of the
        model at the fit.
    """
    rng = np.random.default_rng(problem.seed)
    kept = plot_samples(problem, rng, samples)
    sets = [EvaluationPoints.of(pretrained, rng) for pretrained in problem.bins]
    blocks = PopulationBlocks(problem.objective, problem.columns, problem.seed, samples)
    # Only the residuals of the fit need errors.
    sums = {
        "guess": blocks.sums(problem.guess, sets, errors=False, progress=progress),
        "fit": blocks.sums(final, sets, errors=True, progress=progress),
    }
    kept |= {label: Samples(found.kept, found.kept_weights) for label, found in sums.items()}
    weights = {label: population.weight for label, population in sums.items()}
    weights["data"] = problem.training.weight
    bins = [
        compare(counted, {label: found.bins[i] for label, found in sums.items()}, weights)
        for i, counted in enumerate(sets)
    ]
    return Comparison(bins, kept).to_arrays()


def plot_samples(problem: Problem, rng: np.random.Generator, most: int) -> dict[str, Samples]:
    """At most ``most`` random rows of the training catalog, as ``data``, in every process.

    Returns:
        Used columns, and weights scaled to represent all rows; nothing without a catalog.
    """
    if not problem.training.rows.total:
        return {}
    keep, scale = subsample(rng, problem.training.rows.total, most)
    columns, weights = problem.training.only(problem.columns).pick(keep)
    return {"data": Samples(columns, weights * scale)}


def compare(
    counted: EvaluationPoints,
    sums: Mapping[str, SumsAndSquares],
    weights: Mapping[str, float],
) -> BinRecord:
    """Normalized counts of a bin and their errors.

    Args:
        counted: the bin, and the points at which it was counted.
        sums: sums of ``guess`` and, after a fit, of ``fit``, see ``PopulationBlocks``. ``fit``, or
            ``guess`` if there is no fit, has squares.
        weights: total weights of these populations and of ``data``.
    """
    pretrained = counted.pretrained
    bin_, config = pretrained.bin, pretrained.bin.config
    of_data = BinComparison(config.normalization, counted.truth, weights["data"])
    of_model = {
        label: BinComparison(config.normalization, found.sums, weights[label])
        for label, found in sums.items()
    }
    last = "fit" if "fit" in sums else "guess"
    squares = sums[last].squares
    assert squares is not None
    of_training = counted.normalized_errors(weights["data"])
    errors = difference_errors(of_training, of_model[last].errors(squares))
    counts = {label: _counts(one) for label, one in of_model.items()}
    points = counted.points
    nowhere = np.zeros((0, len(bin_.columns)))
    return BinRecord(
        name=bin_.name,
        group=bin_.group,
        columns=list(bin_.columns),
        window={name: (low, high) for name, (low, high) in bin_.window.items()},
        softness=dict(zip(bin_.window, bin_.softness, strict=True)),
        normalization=config.normalization,
        number_density=config.number_density,
        n_training=pretrained.training_count,
        centers=points["kde"].each["centers"] if "kde" in points else nowhere,
        kernel_cov=pretrained.kernel_cov,
        modes=points["fourier"].each["modes"] if "fourier" in points else nowhere,
        data=_counts(of_data),
        guess=counts["guess"],
        fit=counts.get("fit"),
        kde_err=_real(errors.counts.get("kde")),
        fourier_err=_complex(errors.counts.get("fourier")),
        further_errors=_further(errors),
        weight_err=pretrained.number_err if pretrained.counts is None else None,
    )


def _counts(comparison: BinComparison) -> Counts:
    values = comparison.values()
    weight = float(comparison.sums.weight)
    own = _real(values.counts.get("kde")), _complex(values.counts.get("fourier"))
    return Counts(weight, *own, _further(values))


def _further(compared: Compared) -> dict[str, np.ndarray]:
    """Arrays (k, parts) of the statistics other than kernels and modes."""
    return {n: v for n, v in compared.counts.items() if n not in ("kde", "fourier")}


def _real(values: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if values is None else values[:, 0]


def _complex(values: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, complex) if values is None else values[:, 0] + 1j * values[:, 1]
