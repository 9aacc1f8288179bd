"""Preview of a fit: the model and the gradient at the guess, and the cost of a step."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from kdescent_dist.bins.bin import NEGLIGIBLE_WINDOW
from kdescent_dist.diagnostics.comparison import compare, plot_samples
from kdescent_dist.diagnostics.population_sums import PopulationBlocks, SumsAndSquares, count_rows
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.mesh import replicated, whole
from kdescent_dist.models.block_model import INPUT_WEIGHTS
from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.numerics.prng import as_key, fixed_schedule, fold_schedule
from kdescent_dist.objective.evaluate import evaluate
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.report.data.comparison import Comparison, Samples
from kdescent_dist.response.points import LARGEST_SET, EvaluationPoints, subsample

COUNTED = 200_000  # most model samples to count: a random subset of the samples of a step
KERNELS_OF_ALL = 40_000  # most kernels, and most modes, of all bins together
FEWEST_KERNELS = 50
KEYS = 4  # number of random keys for the loss at the guess


def compare_guess(
    problem: Problem, *, samples: int, counted: int = COUNTED
) -> Callable[[], dict[str, np.ndarray]]:
    """Compare the model at the guess with the training catalog, in every bin.

    To be fast, only a random subset of the model samples is counted, at some kernels and modes.
    Errors include the noise of the subset. All processes must call this function together. The
    returned function may be called in a single process.

    Args:
        problem: the fit.
        samples: number of rows of each population to keep for plots.
        counted: most model samples to count.

    Returns:
        A function that counts, and returns the arrays of a ``Comparison`` before a fit: also with
        samples of the input catalog, and with the empirical characteristic function of the
        training samples of each bin at its modes.
    """
    objective, bins = problem.objective, problem.bins
    rng = np.random.default_rng(problem.seed)
    kept = plot_samples(problem, rng, samples) | _input_rows(objective, rng, samples)
    blocks = PopulationBlocks(objective, problem.columns, problem.seed, max(samples, counted))
    population = blocks.sums(problem.guess, [], errors=False)

    def count() -> dict[str, np.ndarray]:
        some, more = subsample(rng, len(population.kept_weights), samples)
        guess = Samples(
            {name: values[some] for name, values in population.kept.items()},
            population.kept_weights[some] * more,
        )
        total = float(population.kept_weights.sum(dtype=float))
        weights = {"guess": total, "data": objective.training_weight}
        largest = int(np.clip(KERNELS_OF_ALL // len(bins), FEWEST_KERNELS, LARGEST_SET))
        records = []
        for pretrained in bins:
            counted = EvaluationPoints.of(pretrained, rng, largest)
            sums = _sums(counted, population.kept, population.kept_weights)
            record = replace(
                compare(counted, {"guess": sums}, weights),
                **_characteristic(counted),
                min_training=pretrained.bin.config.min_training if pretrained.counts else 0,
            )
            records.append(record)
        return Comparison(records, kept | {"guess": guess}).to_arrays()

    return count


def _characteristic(counted: EvaluationPoints) -> dict[str, np.ndarray]:
    """The empirical characteristic function of the training samples of a bin, and its errors."""
    known = counted.pretrained.counts
    if known is None:
        return {}
    norm = max(counted.pretrained.training_sum, 1e-300)
    modes = counted.indices.get("fourier", np.zeros(0, int))
    return {
        "ecf": known.fourier_counts[modes] / norm,
        "ecf_err": known.fourier_err[modes] / norm,
    }


def _input_rows(
    objective: PopulationObjective, rng: np.random.Generator, most: int
) -> dict[str, Samples]:
    """Random rows of the input catalog, as ``input``, in every process; none without a catalog."""
    catalog, layout = objective.data["catalog"], objective.layout
    if not catalog:
        return {}
    rows, scale = subsample(rng, layout.size, most)
    block, place = np.divmod(rows, layout.block_size)
    take = jax.jit(
        lambda arrays: {name: values[block, place] for name, values in arrays.items()},
        out_shardings=replicated(objective.mesh),
    )
    taken = {name: np.asarray(values) for name, values in take(catalog).items()}
    weights = taken.pop(INPUT_WEIGHTS, np.ones(len(rows)))
    return {"input": Samples(taken, weights * scale)}


def _sums(
    counted: EvaluationPoints, columns: Mapping[str, np.ndarray], weights: np.ndarray
) -> SumsAndSquares:
    """Sums of a bin, over samples with weights that are not negligible in the window."""
    bin_ = counted.pretrained.bin
    inside = np.asarray(bin_.weights(columns)) * weights
    (rows,) = np.nonzero(inside > NEGLIGIBLE_WINDOW * np.max(weights, initial=0.0))
    x = np.stack([columns[name][rows] for name in bin_.columns], axis=1)
    # Padded to one of few sizes, because a program is compiled for each size.
    fill = (1 << max(int(len(rows) - 1).bit_length(), 9)) - len(rows)
    x = np.pad(x, ((0, fill), (0, 0)))
    within, own = (np.pad(w[rows], (0, fill)) for w in (inside, weights))
    found = count_rows(x, within, own, counted)
    if bin_.config.normalization != "density":
        return found
    assert found.squares is not None
    everywhere = np.sum(weights.astype(float) ** 2)
    return replace(found, squares=replace(found.squares, norm=everywhere))


def try_steps(problem: Problem) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Compile and evaluate loss and gradient, which are a step without its update.

    Args:
        problem: the fit.

    Returns:
        Losses (keys,) and gradients (keys, parameters) at the guess, for the random keys of the
        first steps; and the cost: ``compile_s``, seconds of compilation; ``step_s``, seconds of an
        evaluation after warm-up; and ``memory``, bytes on each device: ``arguments`` (catalog and
        training counts), ``temporary`` and ``total``, or None if unknown.
    """
    objective = problem.objective
    schedule = fixed_schedule if problem.fixed_key else fold_schedule
    device, written_out = objective.mesh.devices.flat[0], problem.written_out
    on_cpu = written_out and device.platform == "cpu"

    def at_guess(params: jax.Array, base: jax.Array, step: jax.Array, data: Any) -> tuple:
        key, _ = schedule(jax.random.wrap_key_data(base), step)
        return evaluate(objective, params, key, data, on_cpu)

    params, base = whole((problem.guess, jax.random.key_data(as_key(problem.seed))), objective.mesh)
    begun = time.perf_counter()
    program = compiled(at_guess, device, written_out=written_out)
    program = program.lower(params, base, np.int32(0), objective.data).compile()
    cost: dict[str, Any] = {"compile_s": time.perf_counter() - begun, "memory": _memory(program)}
    losses, slopes, seconds = [], [], []
    for key in range(KEYS):
        begun = time.perf_counter()
        loss, slope = jax.device_get(program(params, base, np.int32(key), objective.data))
        seconds.append(time.perf_counter() - begun)
        losses.append(loss)
        slopes.append(slope)
    cost["step_s"] = min(seconds[1:])  # the first one warms up
    return np.array(losses, float), np.array(slopes, float), cost


def _memory(compiled: Any) -> dict[str, int] | None:
    """Bytes on a device, None if the backend does not report them."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    arguments, temporary = found.argument_size_in_bytes, found.temp_size_in_bytes
    output = found.output_size_in_bytes - found.alias_size_in_bytes
    return {
        "arguments": int(arguments),
        "temporary": int(temporary),
        "total": int(arguments + temporary + max(output, 0)),
    }
