"""Gaussian kernel counts as a statistic: ``sum_n w_n N(x_n; center_k, cov)``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.contraction import Columns
from kdescent_dist.counts.kde import (
    FAR,
    SCALE,
    WhiteKernels,
    Whitening,
    block_gradients,
    gradient_rows,
    kernel_values,
    plain_kernels,
    square_norm,
    white_kde_sums,
    white_kernels,
)
from kdescent_dist.counts.local import kde_counts
from kdescent_dist.counts.placement import TrainingDensity
from kdescent_dist.counts.points import Points
from kdescent_dist.counts.statistic import Statistic
from kdescent_dist.numerics import threefry
from kdescent_dist.numerics.tiles import matmul


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _White:
    """Kernels in white coordinates, and ``kde.square_norm``."""

    kernels: WhiteKernels
    square_norm: Any

    @property
    def centers(self) -> Columns:
        return self.kernels.centers

    @property
    def norm(self) -> Any:
        return self.kernels.norm

    @property
    def whiten(self) -> Whitening:
        return self.kernels.whiten


@dataclass(frozen=True)
class GaussianKernels(Statistic):
    """Gaussian kernels: ``centers`` (k, d) for each point, and ``cov`` (d, d) in common.

    A squared kernel is a narrower kernel, ``N(x; c, C)^2 = N(x; c, C / 2) / sqrt(det(4 pi C))``. So
    sums of squares are counts of samples with squared weights.
    """

    name = "kde"
    parts = ("",)
    positive = True

    def place(
        self, key: np.ndarray, density: TrainingDensity, number: int, options: Mapping[str, Any]
    ) -> Points:
        """Draw centers from the training density, and set the covariance by Scott's rule (1992).

        With n = ``num_eval_kernels``, the width is ``n^(-1 / (d + 4)) bandwidth_factor`` widths of
        the columns of the training sample.

        Args:
            key: (2,) words of a random key.
            density: the training sample.
            number: number of centers to draw.
            options: ``num_eval_kernels``, ``bandwidth_factor``, ``covariant_kernels``,
                ``inverse_density_weight_power`` and ``num_idw_draws``, see ``KPretrainer``.

        Raises:
            InputError: ``num_idw_draws`` is below ``number``, or the columns of the sample are
                linearly dependent.
        """
        cov, drawn = density.covariance, options["num_eval_kernels"]
        if not options["covariant_kernels"]:
            cov = np.diag(np.diagonal(cov))
        bandwidth = drawn ** (-1.0 / (len(cov) + 4)) * options["bandwidth_factor"]
        choice_key, _, draw_key = threefry.split(key, 3)
        power = options["inverse_density_weight_power"]
        if power > 0:
            draws = options["num_idw_draws"]
            centers = _rare_centers(draw_key, choice_key, density, number, power, draws)
        else:
            centers = density.draw(draw_key, number)
        return Points({"centers": centers}, {"cov": (cov * bandwidth**2).astype(density.dtype)})

    def ready(self, points: Points) -> Points:
        """White coordinates of the centers, and what a fit needs of their covariance."""
        centers, cov = (
            np.asarray(a, float) for a in (points.each["centers"], points.common["cov"])
        )
        lower = np.linalg.cholesky(cov)
        widths = np.diagonal(lower)
        matrix, scale = np.linalg.solve(lower, np.diag(widths)), SCALE / widths
        origin = np.sort(centers, axis=0)[len(centers) // 2]
        white = np.clip((centers - origin) * scale, -FAR, FAR) @ matrix.T
        common = {
            "origin": origin,
            "scale": scale,
            "matrix": np.tril(matrix),
            "norm": np.prod(1 / (np.sqrt(2 * np.pi) * widths)),
            "square_norm": np.sqrt(np.linalg.det(4 * np.pi * cov)),
        }
        return Points({**points.each, "white": white}, {**points.common, **common})

    def prepare(self, points: Points, origin: jax.Array) -> _White:
        if (known := _known(points)) is not None:
            return known
        cov = points.common["cov"]
        return _White(white_kernels(points.each["centers"], cov), square_norm(cov))

    def values(self, columns: Columns, prepared: _White) -> tuple[jax.Array]:
        return (plain_kernels(prepared.whiten(columns), prepared.centers),)

    def finish(self, sums: jax.Array, prepared: _White) -> jax.Array:
        return (prepared.norm * sums[0])[:, None]

    def pull_back(self, cotangent: jax.Array, prepared: _White) -> jax.Array:
        return (prepared.norm * cotangent[:, 0])[None]

    def sums(self, columns: Columns, weights: jax.Array, prepared: _White) -> list[jax.Array]:
        return [matmul(_kernels(columns, prepared), weights)]

    def square_sums(
        self, columns: Columns, squares: jax.Array, prepared: _White
    ) -> list[jax.Array]:
        kernels = _kernels(columns, prepared)
        return [matmul(kernels * kernels, squares)]

    def finish_squares(self, sums: jax.Array, total: jax.Array, prepared: _White) -> jax.Array:
        narrow = 2.0 ** (0.5 * len(prepared.centers)) * prepared.norm
        return (narrow * sums[0] / prepared.square_norm)[:, None]

    def factors(self, cotangent: jax.Array, prepared: _White) -> jax.Array:
        return gradient_rows(prepared.centers, prepared.norm * cotangent[:, 0])

    def gradients(
        self, columns: Columns, weights: jax.Array, prepared: _White, factors: jax.Array
    ) -> tuple[Columns, jax.Array]:
        z = prepared.whiten(columns)
        white, total = block_gradients(z, weights, prepared.centers, factors)
        return prepared.whiten.pull_back(white), total

    def counts(self, x: jax.Array, weights: jax.Array, points: Points, backend: str) -> jax.Array:
        if (known := _known(points)) is not None:
            return white_kde_sums(backend, x, weights, known.kernels)[:, None]
        centers, cov = points.each["centers"], points.common["cov"]
        return kde_counts(x, weights, centers, cov, backend)[:, None]

    def squares(
        self, x: jax.Array, weights: jax.Array, points: Points, backend: str, total: jax.Array
    ) -> jax.Array:
        if (known := _known(points)) is not None:
            narrow = white_kde_sums(backend, x, weights * weights, known.kernels.narrow)
            return (narrow / known.square_norm)[:, None]
        centers, cov = points.each["centers"], points.common["cov"]
        narrow = kde_counts(x, weights * weights, centers, 0.5 * cov, backend)
        return (narrow / square_norm(cov))[:, None]


def _known(points: Points) -> _White | None:
    """What ``GaussianKernels.ready`` found; None before."""
    if "white" not in points.each:
        return None
    common = points.common
    whiten = Whitening(common["origin"], common["scale"], common["matrix"])
    centers = list(points.each["white"].T)
    return _White(WhiteKernels(whiten, centers, common["norm"]), common["square_norm"])


def _rare_centers(
    draw_key: np.ndarray,
    choice_key: np.ndarray,
    density: TrainingDensity,
    number: int,
    power: float,
    draws: int,
) -> np.ndarray:
    """Draw centers (number, d) with density ``p^(1 - power)``, where p is the training density.

    Sampling importance resampling (Rubin 1988) draws ``draws`` candidates from p, and chooses
    ``number`` of them without replacement, with weights ``p^-power``. The centers approach their
    density as ``draws`` grows beyond ``number``.
    """
    if draws < number:
        raise InputError(
            f"num_idw_draws={draws}: must be at least num_pretrain_kernels={number}, better 100 "
            f"times as many"
        )
    candidates = density.draw(draw_key, draws)
    value = density.at(candidates)
    tiny = np.finfo(value.dtype).tiny
    rarity = -power * np.log(np.maximum(value, tiny))
    # The candidates with the largest log-weight plus Gumbel noise: a draw without replacement.
    unit = np.maximum(threefry.uniform(choice_key, (draws,), value.dtype), tiny)
    scores = rarity - np.log(-np.log(unit))
    # Last bits can change the ranking.
    return density.agreed(lambda: candidates[np.argsort(-scores)[:number]])


def _kernels(columns: Columns, prepared: _White) -> jax.Array:
    return kernel_values(prepared.whiten(columns), prepared.centers)
