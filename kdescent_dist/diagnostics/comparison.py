"""What the report draws: populations and counts of the guess and the fit against the data."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdescent_dist.diagnostics.points import CountedSet, subsample
from kdescent_dist.diagnostics.population_sums import PopulationBlocks
from kdescent_dist.diagnostics.problem import Problem


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
        Arrays by name, ready for ``np.savez``: ``bins`` is a JSON list that describes them,
        ``data/<column>``, ``guess/<column>`` and ``fit/<column>`` with their ``weights`` are
        samples, and ``bin<i>/...`` are normalized counts of the i-th bin with errors that
        include the noise of the training catalog and of the model.
    """
    rng = np.random.default_rng(problem.seed)
    arrays = plot_sample(problem, rng, samples)
    sets = [CountedSet.of(pretrained, rng) for pretrained in problem.bins]
    blocks = PopulationBlocks(problem.objective, problem.columns, problem.seed, samples)
    # The errors are those of the residuals of the fit.
    sums = {
        "guess": blocks.sums(problem.guess, sets, errors=False, progress=progress),
        "fit": blocks.sums(final, sets, errors=True, progress=progress),
    }
    for label, population in sums.items():
        arrays[f"{label}/weights"] = population.kept_weights
        arrays |= {f"{label}/{name}": values for name, values in population.kept.items()}
    described = []
    for i, counted in enumerate(sets):
        of_bin = {label: population.bins[i] for label, population in sums.items()}
        weights = {label: population.weight for label, population in sums.items()}
        weights["data"] = problem.training.weight
        counts, description = compare(counted, of_bin, weights)
        arrays |= {f"bin{i}/{name}": values for name, values in counts.items()}
        described.append(description)
    arrays["bins"] = np.array(json.dumps(described))
    return arrays


def plot_sample(problem: Problem, rng: np.random.Generator, most: int) -> dict[str, np.ndarray]:
    """At most ``most`` random rows of the training catalog, in every process.

    Returns:
        ``data/<column>`` of each column that is used, and ``data/weights``, which stand for all
        rows.
    """
    keep, scale = subsample(rng, problem.training.rows.total, most)
    columns, weights = problem.training.only(problem.columns).pick(keep)
    arrays = {f"data/{name}": values for name, values in columns.items()}
    return {"data/weights": weights * scale, **arrays}


def compare(
    counted: CountedSet, sums: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Normalized counts of a bin and their errors, and what describes the bin.

    Args:
        counted: the bin, and the kernels and modes at which it was counted.
        sums: sums of the populations ``guess`` and ``fit``, as of ``PopulationBlocks``; those of
            the fit with squares of errors.
        weights: weights of these populations and of ``data`` in all.
    """
    pretrained = counted.pretrained
    bin_, config, counts = pretrained.bin, pretrained.bin.config, pretrained.counts
    kernels, modes = counted.kernel_indices, counted.mode_indices

    def scale(label: str, total: float) -> float:
        norms = {"conditional": total, "counts": 1.0, "density": weights[label]}
        norm = norms[config.normalization]
        return 1 / norm if norm > 0 else 0.0

    of_data = scale("data", float(counts.training_sum_of_weights))
    out = {
        "kernel_centers": counted.centers,
        "kernel_cov": counted.cov,
        "kde_truth": counts.kde_counts[kernels] * of_data,
        "fourier_positions": counted.modes,
        "fourier_truth": counts.fourier_counts[modes] * of_data,
    }
    description = {
        "name": bin_.name,
        "group": bin_.group,
        "columns": list(bin_.columns),
        "window": {name: list(edges) for name, edges in bin_.window.items()},
        "softness": dict(zip(bin_.window, bin_.softness, strict=True)),
        "normalization": config.normalization,
        "number_density": config.number_density,
        "n_training": pretrained.training_count,
        "sum_training": float(counts.training_sum_of_weights),
    }
    for label, model in sums.items():
        description[f"sum_{label}"] = float(model["weight"])
        of_model = scale(label, float(model["weight"]))
        out[f"kde_{label}"] = model["kde"] * of_model
        out[f"fourier_{label}"] = model["fourier"] * of_model
    of_fit, fit = scale("fit", float(sums["fit"]["weight"])), sums["fit"]
    out["kde_err"] = np.hypot(
        np.sqrt(fit["kde_square"]) * of_fit, counts.kde_err[kernels] * of_data
    )
    training, square = counts.fourier_err[modes] * of_data, fit["fourier_square"]
    out["fourier_err"] = np.hypot(np.sqrt(square.real) * of_fit, training.real) + 1j * np.hypot(
        np.sqrt(square.imag) * of_fit, training.imag
    )
    return out, description
