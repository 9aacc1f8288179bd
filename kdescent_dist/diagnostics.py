"""What the report draws: populations and counts of the guess and the fit against the data."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins import PretrainedBin, required_columns
from kdescent_dist.counts import fourier_counts, fourier_errors, kde_counts, kde_errors
from kdescent_dist.objective import PopulationObjective

# Kernels and modes of a bin at which residuals are computed.
LARGEST_SET = 2000


def draw_population(
    objective: PopulationObjective, params: Any, key: jax.Array
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw the whole population of a model, block by block, in host memory.

    Returns:
        Columns, each (n,), and the weights (n,); padded samples are left out.
    """

    @jax.jit
    def of_block(params: jax.Array, block: jax.Array, catalog: Any) -> Any:
        population = objective.model.population(params, key, block, catalog)
        copies = population.size // objective.layout.block_size
        return population.x, population.weights, objective.layout.mask(block, copies)

    params = jnp.asarray(params)
    columns: list[dict[str, np.ndarray]] = []
    weights: list[np.ndarray] = []
    for block in range(objective.layout.count):
        catalog = {name: a[block] for name, a in objective.data["catalog"].items()}
        x, w, real = jax.device_get(of_block(params, jnp.int32(block), catalog))
        columns.append({name: values[real] for name, values in x.items()})
        weights.append(w[real])
    joined = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    return joined, np.concatenate(weights)


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
) -> dict[str, np.ndarray]:
    """Compare the guess and the fit with the training catalog, in every bin.

    Args:
        objective: the objective of the fit.
        bins: its pretrained bins.
        data: training columns, each (n,).
        data_weights: (n,) training weights.
        guess, final: (parameters,) parameters.
        seed: seed of the populations that are drawn.
        samples: samples of each population and of the data that are kept for plots.

    Returns:
        Arrays by name, ready for ``np.savez``: ``bins`` is a JSON list that describes them,
        ``data/<column>``, ``guess/<column>`` and ``fit/<column>`` with their ``weights`` are
        samples, and ``bin<i>/...`` are normalized counts of the i-th bin with errors that
        include the noise of the training catalog and of the model.
    """
    key = jax.random.fold_in(jax.random.key(seed), 2**31 - 1)
    names = required_columns({b.bin.group: b.bin.config for b in bins})
    populations = {
        "data": ({name: np.asarray(data[name]) for name in names}, data_weights),
        "guess": draw_population(objective, guess, key),
        "fit": draw_population(objective, final, key),
    }
    arrays: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(seed)
    for label, (columns, weights) in populations.items():
        keep, scale = _subsample(rng, len(weights), samples)
        arrays[f"{label}/weights"] = weights[keep] * scale
        arrays |= {f"{label}/{name}": columns[name][keep] for name in names}
    described = []
    for i, pretrained in enumerate(bins):
        counts, description = _compare(pretrained, populations, rng)
        arrays |= {f"bin{i}/{name}": values for name, values in counts.items()}
        described.append(description)
    arrays["bins"] = np.array(json.dumps(described))
    return arrays


def _subsample(rng: np.random.Generator, size: int, most: int) -> tuple[np.ndarray, float]:
    if size <= most:
        return np.arange(size), 1.0
    return np.sort(rng.choice(size, most, replace=False)), size / most


def _compare(
    pretrained: PretrainedBin, populations: Mapping[str, tuple], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    bin_, config, counts = pretrained.bin, pretrained.bin.config, pretrained.counts
    kernels, _ = _subsample(rng, 0 if config.kernels == 0 else len(counts.kde_counts), LARGEST_SET)
    modes, _ = _subsample(
        rng, 0 if config.fourier == 0 else len(counts.fourier_counts), LARGEST_SET
    )
    norms = {"conditional": counts.training_sum_of_weights, "counts": 1.0}
    norms["density"] = float(np.sum(populations["data"][1]))
    norm = norms[config.normalization]
    out = {
        "kernel_centers": counts.kernel_centers[kernels],
        "kde_truth": counts.kde_counts[kernels] / norm,
        "fourier_positions": counts.fourier_positions[modes],
        "fourier_truth": counts.fourier_counts[modes] / norm,
    }
    description = {
        "name": bin_.name,
        "group": bin_.group,
        "columns": list(bin_.columns),
        "window": {name: list(edges) for name, edges in bin_.window.items()},
        "softness": config.softness,
        "normalization": config.normalization,
        "number_density": config.number_density,
        "n_training": pretrained.training_count,
        "sum_training": float(counts.training_sum_of_weights),
    }
    for label in ("guess", "fit"):
        columns, weights = populations[label]
        used = {name: jnp.asarray(columns[name]) for name in (*bin_.columns, *bin_.window)}
        window = bin_.weights(used) * weights
        x = jnp.stack([used[name] for name in bin_.columns], axis=1)
        total = float(np.sum(np.asarray(window), dtype=float))
        norms |= {"conditional": total, "density": float(np.sum(weights, dtype=float))}
        scale = 1 / norms[config.normalization] if norms[config.normalization] > 0 else 0.0
        centers, at = jnp.asarray(out["kernel_centers"]), jnp.asarray(out["fourier_positions"])
        cov = jnp.atleast_2d(jnp.asarray(counts.kernelcov))
        description[f"sum_{label}"] = total
        out[f"kde_{label}"] = np.asarray(kde_counts(x, window, centers, cov)) * scale
        out[f"fourier_{label}"] = np.asarray(fourier_counts(x, window, at)) * scale
        # Overwritten by the fit, whose noise is the one that its residuals have.
        noise_kde = np.asarray(kde_errors(x, window, centers, cov)) * scale
        noise_fourier = np.asarray(fourier_errors(x, window, at)) * scale
        out["kde_err"] = np.hypot(noise_kde, counts.kde_err[kernels] / norm)
        training = counts.fourier_err[modes] / norm
        out["fourier_err"] = np.hypot(noise_fourier.real, training.real) + 1j * np.hypot(
            noise_fourier.imag, training.imag
        )
    return out, description
