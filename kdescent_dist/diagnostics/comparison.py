"""What the report draws: populations and counts of the guess and the fit against the data."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdescent_dist.diagnostics.points import CountedSet, subsample
from kdescent_dist.diagnostics.population_sums import PopulationBlocks
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.report.data.comparison import BinRecord, Comparison, Counts, Samples


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
        samples: samples of each population and of the data that are kept for plots.
        progress: called after each bin of each part of a population, in every process.

    Returns:
        The arrays of a ``Comparison``, whose errors include the noise of the training catalog and
        of the model.
    """
    rng = np.random.default_rng(problem.seed)
    kept = {"data": plot_sample(problem, rng, samples)}
    sets = [CountedSet.of(pretrained, rng) for pretrained in problem.bins]
    blocks = PopulationBlocks(problem.objective, problem.columns, problem.seed, samples)
    # The errors are those of the residuals of the fit.
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


def plot_sample(problem: Problem, rng: np.random.Generator, most: int) -> Samples:
    """At most ``most`` random rows of the training catalog, in every process.

    Returns:
        The columns that are used, and weights that stand for all rows.
    """
    keep, scale = subsample(rng, problem.training.rows.total, most)
    columns, weights = problem.training.only(problem.columns).pick(keep)
    return Samples(columns, weights * scale)


def compare(
    counted: CountedSet, sums: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]
) -> BinRecord:
    """Normalized counts of a bin and their errors.

    Args:
        counted: the bin, and the kernels and modes at which it was counted.
        sums: sums of the population ``guess`` and, after a fit, ``fit``, as of
            ``PopulationBlocks``. The last of them has squares of errors.
        weights: weights of these populations and of ``data`` in all.
    """
    pretrained = counted.pretrained
    bin_, config, counts = pretrained.bin, pretrained.bin.config, pretrained.counts
    kernels, modes = counted.kernel_indices, counted.mode_indices

    def scale(label: str, total: float) -> float:
        norms = {"conditional": total, "counts": 1.0, "density": weights[label]}
        norm = norms[config.normalization]
        return 1 / norm if norm > 0 else 0.0

    def of_model(label: str) -> Counts:
        found = sums[label]
        weight = float(found["weight"])
        norm = scale(label, weight)
        return Counts(weight, found["kde"] * norm, found["fourier"] * norm)

    total = float(counts.training_sum_of_weights)
    of_data = scale("data", total)
    last = "fit" if "fit" in sums else "guess"
    noise, norm = sums[last], scale(last, float(sums[last]["weight"]))
    training, square = counts.fourier_err[modes] * of_data, noise["fourier_square"]
    return BinRecord(
        name=bin_.name,
        group=bin_.group,
        columns=list(bin_.columns),
        window={name: (low, high) for name, (low, high) in bin_.window.items()},
        softness=dict(zip(bin_.window, bin_.softness, strict=True)),
        normalization=config.normalization,
        number_density=config.number_density,
        n_training=pretrained.training_count,
        centers=counted.centers,
        kernel_cov=counted.cov,
        modes=counted.modes,
        data=Counts(
            total, counts.kde_counts[kernels] * of_data, counts.fourier_counts[modes] * of_data
        ),
        guess=of_model("guess"),
        fit=of_model("fit") if "fit" in sums else None,
        kde_err=np.hypot(np.sqrt(noise["kde_square"]) * norm, counts.kde_err[kernels] * of_data),
        fourier_err=np.hypot(np.sqrt(square.real) * norm, training.real)
        + 1j * np.hypot(np.sqrt(square.imag) * norm, training.imag),
    )
