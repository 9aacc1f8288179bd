"""How the parameters of a fit respond to a small change of the sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.config.schema import LossConfig
from kdescent_dist.diagnostics.points import CountedSet

# Effective samples in a kernel, of the training catalog and of the model: what fewer of them do to
# the fit is not linear, and next to nothing.
FEWEST = 10


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
