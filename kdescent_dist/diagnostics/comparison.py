"""What the report draws: populations and counts of the guess and the fit against the data."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.bins.bin import required_columns
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.diagnostics.points import CountedSet, subsample
from kdescent_dist.diagnostics.population_sums import PopulationBlocks
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.objective.population_objective import PopulationObjective


def diagnose(
    objective: PopulationObjective,
    bins: Sequence[PretrainedBin],
    data: Mapping[str, np.ndarray],
    data_weights: np.ndarray,
    guess: Any,
    final: Any,
    *,
    seed: int,
    samples: int,
    rows: RowBlocks | None = None,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """Compare the guess and the fit with the training catalog, in every bin.

    Args:
        objective: the objective of the fit.
        bins: its pretrained bins.
        data: training columns, each (n,), of all rows or of those that ``rows`` says.
        data_weights: (n,) training weights of these rows.
        guess, final: (parameters,) parameters.
        seed: seed of the populations that are drawn, any non-negative integer.
        samples: samples of each population and of the data that are kept for plots.
        rows: which rows of the training catalog this process holds, by default all of them.
        progress: called after each bin of each part of a population, in every process.

    Returns:
        Arrays by name, ready for ``np.savez``: ``bins`` is a JSON list that describes them,
        ``data/<column>``, ``guess/<column>`` and ``fit/<column>`` with their ``weights`` are
        samples, and ``bin<i>/...`` are normalized counts of the i-th bin with errors that
        include the noise of the training catalog and of the model.
    """
    names = required_columns({b.bin.group: b.bin.config for b in bins})
    rng = np.random.default_rng(seed)
    arrays = training_rows(names, data, data_weights, rows, rng, samples)
    sets = [CountedSet.of(pretrained, rng) for pretrained in bins]
    blocks = PopulationBlocks(objective, names, seed, samples)
    # The errors are those of the residuals of the fit.
    sums = {
        "guess": blocks.sums(guess, sets, errors=False, progress=progress),
        "fit": blocks.sums(final, sets, errors=True, progress=progress),
    }
    for label, population in sums.items():
        arrays[f"{label}/weights"] = population.kept_weights
        arrays |= {f"{label}/{name}": values for name, values in population.kept.items()}
    rows = RowBlocks(len(data_weights)) if rows is None else rows
    described, data_weight = [], rows.sum(data_weights)
    for i, counted in enumerate(sets):
        of_bin = {label: population.bins[i] for label, population in sums.items()}
        weights = {label: population.weight for label, population in sums.items()}
        weights["data"] = data_weight
        counts, description = compare(counted, of_bin, weights)
        arrays |= {f"bin{i}/{name}": values for name, values in counts.items()}
        described.append(description)
    arrays["bins"] = np.array(json.dumps(described))
    return arrays


def training_rows(
    names: Sequence[str],
    data: Mapping[str, np.ndarray],
    weights: np.ndarray,
    rows: RowBlocks | None,
    rng: np.random.Generator,
    most: int,
) -> dict[str, np.ndarray]:
    """At most ``most`` random rows of the training catalog, in every process.

    Returns:
        ``data/<column>`` of each of ``names``, and ``data/weights``, which stand for all rows.
    """
    rows = RowBlocks(len(weights)) if rows is None else rows
    keep, scale = subsample(rng, rows.total, most)
    shown = {"weights": weights, **{name: np.asarray(data[name]) for name in names}}
    arrays = {f"data/{name}": values for name, values in rows.pick(shown, keep).items()}
    arrays["data/weights"] = arrays["data/weights"] * scale
    return arrays


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
