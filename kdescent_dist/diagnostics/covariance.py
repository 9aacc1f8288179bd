"""Errors of fitted parameters, from the noise of the catalogs: a sandwich covariance.

Where the loss is least, its gradient J^T C (m - d) is 0: of the sums m of the model and d of the
training catalog, with the derivatives J of m by the parameters, and the weights C of the squared
residuals in the loss. So a change of the sums by a row of the training catalog moves the parameters
by its influence, (J^T C J)^-1 J^T C times that change, and the covariance of the parameters is the
sum over all rows of the outer products of their influences (Huber 1967; White 1982; Hampel 1974).
That needs no covariance of the sums, however much kernels overlap. Rows are taken as independent,
and their number as Poisson distributed, but for the samples of a generative model, whose number is
given. A change of the model's sums by a row of its input catalog acts with the opposite sign.

Derivatives are those that the fit descends: a hard edge has none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin import PretrainedBin, required_columns
from kdescent_dist.bins.windows import in_window
from kdescent_dist.config.schema import LossConfig
from kdescent_dist.diagnostics.influence import influences
from kdescent_dist.diagnostics.population_influence import PopulationInfluences, pairs_of
from kdescent_dist.diagnostics.population_sums import CountedSet, subsample
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.numerics.exact_sums import exact_total
from kdescent_dist.objective.population_objective import PopulationObjective

LARGEST_SET = 60  # kernels, and modes, of a bin; fewer of each of many bins
SMALLEST_SET = 10
POINTS = 6000  # of all bins
# Effective samples in a kernel, of the training catalog and of the model: what fewer of them do to
# the fit is not linear, and next to nothing.
FEWEST = 10
PAIRS = 1 << 33  # training rows x kernels and modes
AT_ONCE = 1 << 24  # training rows x parameters
# Singular values of J, relative to the largest, and squared parts of a parameter along them, that
# are taken for rounding.
SINGULAR = 1e-4
DEGENERATE = 1e-4


@dataclass(frozen=True)
class LinearSums:
    """What is compared in a bin, linearized in the parameters: k + 2 q + 1 numbers, at most.

    Normalized kernel counts, real and imaginary parts of Fourier counts, and the weight in the bin
    over the volume.

    Attributes:
        slopes: (P, k + 2 q + 1) derivatives of those of the model.
        weights: (k + 2 q + 1,) of the squared residuals in the loss, up to a factor.
        model, training: how to get influences from those of the residuals.
    """

    slopes: np.ndarray
    weights: np.ndarray
    model: "Normalization"
    training: "Normalization"


@dataclass(frozen=True)
class Normalization:
    """How sums over samples become what is compared.

    Attributes:
        counts: (k + 2 q,) normalized counts.
        norm: by what they were divided, unless it is 0.
        kind: conditional, density or counts.
        volume: by what the weight in the bin is divided.
    """

    counts: np.ndarray
    norm: float
    kind: str
    volume: float

    @property
    def factor(self) -> float:
        return 1 / self.norm if self.norm > 0 else 0.0

    def factors(self, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of ``influences``, of numbers with derivatives (P, k + 2 q + 1)."""
        of_counts, of_number = linear[:, :-1], linear[:, -1] / self.volume
        of_norm = -(of_counts @ self.counts) * self.factor
        in_bin = of_number + (of_norm if self.kind == "conditional" else 0.0)
        of_all = of_norm if self.kind == "density" else np.zeros_like(of_norm)
        return np.concatenate([of_counts.T * self.factor, in_bin[None]]), of_all


def parameter_errors(
    objective: PopulationObjective,
    bins: Sequence[PretrainedBin],
    columns: Mapping[str, np.ndarray],
    weights: np.ndarray,
    params: np.ndarray,
    *,
    seed: int,
    free: np.ndarray | None = None,
    rows: RowBlocks | None = None,
    input_rows: np.ndarray | range | None = None,
    fixed_key: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Covariance (P, P) of fitted parameters due to the noise of the catalogs.

    That is the noise of the training catalog; of the input catalog of the model, if it has one,
    which is the same noise where both are one; and of the random numbers of the model where they
    are the same in every step, else they average out. A term of the user's own is left out.

    Args:
        objective: the objective of the fit.
        bins: its pretrained bins.
        columns: training columns, each (n,), of all rows or of those that ``rows`` says.
        weights: (n,) training weights of these rows.
        params: (P,) fitted parameters.
        seed: of the kernels, modes and random numbers that are used, any non-negative integer.
        free: (P,) whether the parameter can move, and not is held by a bound; by default all.
        rows: which rows of the training catalog this process holds, by default all of them. The
            result is the same in all processes, which call this together.
        input_rows: (samples,) row in the training catalog of each row of the input catalog, in
            ascending order, where the one is made of the other; a range for all rows.
        fixed_key: whether random numbers are the same in every step of the fit.
        progress: called often, equally often in every process.

    Returns:
        Where the loss does not determine a parameter its variance is infinite, and its
        covariances are 0; so too where it cannot move.
    """
    params = np.asarray(params)
    rows = RowBlocks(len(weights)) if rows is None else rows
    free = np.ones(len(params), bool) if free is None else free
    rng = np.random.default_rng(seed)
    most = int(np.clip(POINTS // (2 * len(bins)), SMALLEST_SET, LARGEST_SET))
    sets = [CountedSet.of(pretrained, rng, most) for pretrained in bins]
    names = required_columns({b.bin.group: b.bin.config for b in bins})
    population = PopulationInfluences(objective, names, sets, params, seed, progress)
    total, sums = population.sums()
    training_weight = float(objective.data["shared"]["training_weight"])
    linear = [
        linear_sums(objective.config, counted, of_bin, total, training_weight)
        for counted, of_bin in zip(sets, sums, strict=True)
    ]
    response, determined = responses(linear, free)
    training = [one.training.factors(r) for one, r in zip(linear, response, strict=True)]
    used = {name: np.asarray(columns[name]) for name in names}
    covariance = _training_products(used, weights, sets, training, rows, seed, progress)
    if fixed_key or objective.data["catalog"]:

        def picked(places: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
            chosen = input_rows[places] if isinstance(input_rows, np.ndarray) else places
            found = rows.pick({**used, "": np.asarray(weights)}, chosen)
            of_rows = found.pop("")
            return found, of_rows

        covariance += population.products(
            [one.model.factors(r) for one, r in zip(linear, response, strict=True)],
            fixed_key=fixed_key,
            training=None if input_rows is None else picked,
            training_factors=training,
        )
    covariance = _without_negative(covariance)
    covariance = np.where(np.outer(determined, determined), covariance, 0.0)
    return covariance + np.diag(np.where(determined, 0.0, np.inf))


def linear_sums(
    config: LossConfig,
    counted: CountedSet,
    sums: Mapping[str, np.ndarray],
    total: np.ndarray,
    training_weight: float,
) -> LinearSums:
    """What is compared in a bin.

    Args:
        config: the terms of the loss.
        counted: the bin, and the kernels and modes at which it is compared.
        sums: those of the model, as of ``sum_derivatives``.
        total: (1 + P,) sum of all weights of the model, and its derivatives.
        training_weight: sum of all weights of the training catalog.
    """
    bin_, counts = counted.pretrained.bin, counted.pretrained.counts
    kind = bin_.config.normalization
    number, number_slopes = sums["counts"][-1], sums["slopes"][:, -1]
    in_bin = float(counts.training_sum_of_weights)

    def of_kind(conditional: Any, density: Any, none: Any) -> Any:
        return {"conditional": conditional, "density": density, "counts": none}[kind]

    def normalized(raw: np.ndarray, norm: float) -> Normalization:
        factor = 1 / norm if norm > 0 else 0.0
        return Normalization(raw * factor, norm, kind, config.volume)

    fourier = counts.fourier_counts[counted.mode_indices]
    parts = [counts.kde_counts[counted.kernel_indices], np.real(fourier), np.imag(fourier)]
    truth = np.concatenate(parts).astype(float)
    training = normalized(truth, float(of_kind(in_bin, training_weight, 1.0)))
    model = normalized(sums["counts"][:-1], float(of_kind(number, total[0], 1.0)))
    norm_slopes = of_kind(number_slopes, total[1:], np.zeros(len(number_slopes)))
    slopes = (sums["slopes"][:, :-1] - np.outer(norm_slopes, model.counts)) * model.factor
    slopes = np.concatenate([slopes, number_slopes[:, None] / config.volume], axis=1)
    return LinearSums(
        slopes, _loss_weights(config, counted, sums, model, training), model, training
    )


def _loss_weights(
    config: LossConfig,
    counted: CountedSet,
    sums: Mapping[str, np.ndarray],
    model: Normalization,
    training: Normalization,
) -> np.ndarray:
    """Weights (k + 2 q + 1,) of squared residuals in the loss, as expected of a step."""
    pretrained, bin_ = counted.pretrained, counted.pretrained.bin.config
    counts = pretrained.counts
    kernels, modes = len(counted.kernel_indices), len(counted.mode_indices)
    drawn = (
        np.full(kernels, config.kde * counts.num_eval_kernels / max(kernels, 1)),
        np.full(2 * modes, config.fourier * counts.num_eval_fourier_positions / max(modes, 1)),
        [config.number_density if bin_.number_density else 0.0],
    )
    weights = bin_.weight * np.concatenate(drawn)
    known = counts.kde_counts[counted.kernel_indices], counts.kde_err[counted.kernel_indices] ** 2
    enough = _effective(*known) >= FEWEST
    enough &= _effective(sums["counts"][:kernels], sums["squares"][:kernels]) >= FEWEST
    weights[:kernels] *= enough
    if config.statistic == "mse":
        return weights
    fourier = counts.fourier_err[counted.mode_indices]
    parts = [counts.kde_err[counted.kernel_indices], np.real(fourier), np.imag(fourier)]
    training_err = np.concatenate(parts).astype(float) * training.factor
    errors = np.append(training_err, pretrained.number_err / config.volume) ** 2
    if config.model_errors:
        squares = sums["squares"]
        of_counts = squares[:-1] * model.factor**2
        errors = errors + np.append(of_counts, squares[-1] / config.volume**2)
    # Where there is no error, there is nothing to compare with.
    return np.where(errors > 0, weights / np.where(errors > 0, errors, 1.0), 0.0)


def _effective(counts: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Effective samples of counts whose squared errors are ``squares``."""
    return np.where(squares > 0, counts / np.sqrt(np.where(squares > 0, squares, 1.0)), 0.0) ** 2


def responses(
    linear: Sequence[LinearSums], free: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """What residuals do to the parameters that minimize the sum of their weighted squares.

    Args:
        linear: what is compared in each bin.
        free: (P,) whether the parameter can move.

    Returns:
        Of each bin (P, k + 2 q + 1), 0 along directions of which the residuals do not depend; and
        which parameters (P,) are determined.

    Raises:
        FloatingPointError: a derivative is not finite.
    """
    roots = np.sqrt(np.concatenate([one.weights for one in linear]))
    jacobian = roots[:, None] * np.concatenate([one.slopes for one in linear], axis=1).T
    if not np.isfinite(jacobian).all():
        raise FloatingPointError("a derivative of the model's sums is not finite")
    scale = np.linalg.norm(jacobian, axis=0) * free
    movable = scale > 0
    per_scale = np.where(movable, 1 / np.where(movable, scale, 1.0), 0.0)
    left, singular, right = np.linalg.svd(jacobian * per_scale, full_matrices=False)
    kept = singular > SINGULAR * max(singular[0], np.finfo(float).tiny)
    inverse = right[kept].T @ (left[:, kept] / singular[kept]).T
    response = per_scale[:, None] * inverse * roots
    lost = 1 - np.sum(right[kept] ** 2, axis=0)
    edges = np.cumsum([len(one.weights) for one in linear])[:-1]
    return np.split(response, edges, axis=1), movable & (lost < DEGENERATE)


def _without_negative(covariance: np.ndarray) -> np.ndarray:
    """The matrix without directions of negative variance, which noise of the products may have."""
    scale = np.sqrt(np.abs(np.diagonal(covariance)))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return positive * np.outer(scale, scale)


def _training_products(
    columns: Mapping[str, np.ndarray],
    weights: np.ndarray,
    sets: Sequence[CountedSet],
    factors: Sequence[Any],
    rows: RowBlocks,
    seed: int,
    progress: Callable[[], None],
) -> np.ndarray:
    """Sum of outer products (P, P) of the influences of all training rows."""
    points = sum(len(s.centers) + len(s.modes) for s in sets)
    size = factors[0][1].size
    most = max(pairs_of(PAIRS, size) // (max(points, 1) * rows.count), 1)
    at_once = max(AT_ONCE // size, 1)
    parts = []
    for turn in range(-(-rows.count // rows.processes.count)):
        progress()
        if turn >= len(rows.slices):
            continue
        block = rows.slices[turn]
        rng = np.random.default_rng((seed, rows.own[0] + turn))
        # Of a large catalog, some rows of each block stand for all.
        keep, scale = subsample(rng, len(weights[block]), most)
        of_block = np.zeros((size, size))
        for first in range(0, len(keep), at_once):
            some = keep[first : first + at_once]
            x = {name: jnp.asarray(values[block][some]) for name, values in columns.items()}
            w = jnp.asarray(np.asarray(weights)[block][some])
            total = np.zeros((len(some), size))
            for counted, of_bin in zip(sets, factors, strict=True):
                arrays = (*counted.columns_of(x), w, counted.window, counted.points, of_bin)
                total += np.asarray(_row_influences(*arrays, counted.pretrained.bin.hard), float)
            of_block += total.T @ total
        parts.append(scale * of_block)
    return exact_total(parts, (size, size), rows.count, rows.processes)


@partial(jax.jit, static_argnames="hard")
def _row_influences(x, conditions, weights, window, points, factors, hard):
    inside = in_window(conditions, weights, window, hard)
    return influences(jnp.stack(x, axis=1), inside, weights, points, factors)
