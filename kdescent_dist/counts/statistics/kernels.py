"""Gaussian kernel counts as a statistic: ``sum_n w_n N(x_n; center_k, cov)``."""

from dataclasses import dataclass
from typing import Any

import jax

from kdescent_dist.counts.contraction import Columns
from kdescent_dist.counts.kde import (
    Whitening,
    block_gradients,
    gradient_rows,
    kernel_values,
    plain_kernels,
    square_norm,
    whitening,
)
from kdescent_dist.counts.local import kde_counts
from kdescent_dist.counts.statistic import Points, Statistic
from kdescent_dist.numerics.tiles import matmul


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _White:
    """The map to white coordinates, white centers, and norms of a kernel and of its square."""

    whiten: Whitening
    centers: Columns
    norm: Any
    square_norm: Any


@dataclass(frozen=True)
class GaussianKernels(Statistic):
    """Kernels of one covariance: ``centers`` (k, d) each, and ``cov`` (d, d) in common.

    A squared kernel is a narrower kernel,
    ``N(x; c, C)^2 = N(x; c, C / 2) / sqrt(det(4 pi C))``: sums of squares are counts of samples
    with squared weights.
    """

    name = "kde"
    parts = ("",)
    positive = True

    def prepare(self, points: Points, origin: jax.Array) -> _White:
        cov = points.common["cov"]
        return _White(*whitening(points.each["centers"], cov), square_norm(cov))

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

    def counts(self, x: jax.Array, weights: jax.Array, points: Points, form: str) -> jax.Array:
        centers, cov = points.each["centers"], points.common["cov"]
        return kde_counts(x, weights, centers, cov, form)[:, None]

    def squares(
        self, x: jax.Array, weights: jax.Array, points: Points, form: str, total: jax.Array
    ) -> jax.Array:
        centers, cov = points.each["centers"], points.common["cov"]
        narrow = kde_counts(x, weights * weights, centers, 0.5 * cov, form)
        return (narrow / square_norm(cov))[:, None]


def _kernels(columns: Columns, prepared: _White) -> jax.Array:
    return kernel_values(prepared.whiten(columns), prepared.centers)
