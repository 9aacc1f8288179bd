"""Weighted sums of normalized Gaussian kernels, with a derivative that recomputes the kernels.

With ``cov = L L^T`` and ``W = sqrt(log2(e) / 2) L^-1``, a kernel is ``2^-|W (x - c)|^2`` times a
norm. Samples and centers are whitened once, relative to the median of the centers, so that a common
offset costs no digits. A pair then takes one difference and one product per dimension.

A backend computes the sums and the gradients in samples, weights and centers. The gradient in the
covariance needs a second moment of the samples, which is computed in blocks for any backend.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from kdescent_dist.counts.backends import with_backend
from kdescent_dist.counts.contraction import Backend, Columns, PairTables
from kdescent_dist.counts.tiled import TiledBackend
from kdescent_dist.numerics.differentiable import differentiable
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.tiles import matmul, scan_tiles
from kdescent_dist.numerics.vector_math import exp2_nonpositive

SCALE = math.sqrt(0.5 / math.log(2.0))  # from a power of e to a power of 2
FAR = 1e15  # largest whitened distance, about in kernel widths; its square is finite
_SLOPE = 2.0 * math.log(2.0)  # 2^-d^2 has the derivative -_SLOPE d 2^-d^2


def _kde_sums(
    backend: str, x: jax.Array, weights: jax.Array, centers: jax.Array, cov: jax.Array
) -> jax.Array:
    """Return ``sum_n w_n N(x_n; center_k, cov)`` of shape (K,); all arrays of one dtype."""
    return with_backend(backend, _sums, x, weights, centers, cov)


def _backward(backend, arrays, cotangent):
    """Three computations: XLA drops the computations of unused gradients."""
    gradients = [_sample_gradients, _center_gradients, _cov_gradient]
    of_samples, *others = (with_backend(backend, g, *arrays, cotangent) for g in gradients)
    return *of_samples, *others


def _plain(backend: str, x, weights, centers, cov):
    """Like ``_kde_sums``, in blocks for any backend, for all other derivatives."""
    return _plain_sums(x, weights, white_kernels(centers, cov))


def _plain_sums(x, weights, kernels):
    # Otherwise a reverse pass would keep the kernels of all blocks.
    @jax.checkpoint
    def body(columns, w):
        return matmul(plain_kernels(kernels.whiten(columns), kernels.centers), w)

    return kernels.norm * tree_sum(scan_tiles(body, x, weights))


kde_sums = differentiable(_kde_sums, _backward, _plain, static=1)


def _white_sums(
    backend: str, x: jax.Array, weights: jax.Array, kernels: "WhiteKernels"
) -> jax.Array:
    """As ``_kde_sums``, with kernels that are constants in any derivative."""
    return with_backend(backend, _sums_of, x, weights, kernels)


def _white_backward(backend, arrays, cotangent):
    return *with_backend(backend, _gradients_of_samples, *arrays, cotangent), None


def _white_plain(backend: str, x, weights, kernels):
    return _plain_sums(x, weights, kernels)


white_kde_sums = differentiable(_white_sums, _white_backward, _white_plain, static=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Whitening:
    """The map to white coordinates, in which a kernel is ``2^-|z - c|^2``.

    The first step shifts and scales each coordinate, and clips distant samples at ``FAR``: after
    scaling, the limit does not depend on units. The second step multiplies by a unit triangular
    matrix, which removes the correlations. ``origin`` and ``scale`` are (d,), ``matrix`` is (d, d).
    """

    origin: Any
    scale: Any
    matrix: Any

    def __call__(self, columns: Columns) -> Columns:
        return TiledBackend().transform(self.matrix, self.scaled(columns))

    def scaled(self, columns: Columns) -> Columns:
        """The first step only."""
        return [
            jnp.clip((column - origin) * scale, -FAR, FAR)
            for column, origin, scale in zip(columns, self.origin, self.scale, strict=True)
        ]

    def pull_back(self, gradients: list[jax.Array]) -> list[jax.Array]:
        """Map a gradient in the white coordinates to one in the original coordinates."""
        matrix = self.matrix * self.scale
        return [_combine(matrix[j:, j], gradients[j:]) for j in range(len(gradients))]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WhiteKernels:
    """Kernels in white coordinates.

    Attributes:
        whiten: the map to white coordinates.
        centers: d white coordinates (K,) of the centers.
        norm: norm of a kernel.
    """

    whiten: Whitening
    centers: Columns
    norm: Any

    @property
    def narrow(self) -> "WhiteKernels":
        """The kernels of half the covariance."""
        root = math.sqrt(2.0)
        whiten = replace(self.whiten, scale=root * self.whiten.scale)
        norm = root ** len(self.centers) * self.norm
        return WhiteKernels(whiten, [root * c for c in self.centers], norm)


def _combine(factors: jax.Array, columns: list[jax.Array]) -> jax.Array:
    """A dot product as explicit operations: there are at most d terms."""
    total = factors[0] * columns[0]
    for i in range(1, len(columns)):
        total = total + factors[i] * columns[i]
    return total


def white_kernels(centers: jax.Array, cov: jax.Array) -> WhiteKernels:
    """The kernels at centers (K, d) with a covariance (d, d), in white coordinates."""
    lower = jnp.linalg.cholesky(cov)
    widths = jnp.diagonal(lower)
    matrix = solve_triangular(lower, jnp.diag(widths), lower=True)
    norm = jnp.prod(1.0 / (math.sqrt(2.0 * math.pi) * widths))
    whiten = Whitening(jnp.sort(centers, axis=0)[len(centers) // 2], SCALE / widths, matrix)
    scaled = whiten.scaled(list(centers.T))
    # A product of matrices would be a kernel of its own on GPUs.
    white = [_combine(matrix[i], scaled[: i + 1]) for i in range(len(scaled))]
    return WhiteKernels(whiten, white, norm)


def square_norm(cov: jax.Array) -> jax.Array:
    """``N(x; c, cov / 2) / N(x; c, cov)^2``: no square of a small number, which may underflow."""
    return jnp.sqrt(jnp.linalg.det(4.0 * jnp.pi * cov))


def kernel_values(z: list[jax.Array], centers: list[jax.Array]) -> jax.Array:
    """Kernel values (K, size) of one block, at most 1."""
    return gaussian(exp2_nonpositive, [c[None, :] for c in z], [c[:, None] for c in centers])[0]


def plain_kernels(z: list[jax.Array], centers: list[jax.Array]) -> jax.Array:
    """Like ``kernel_values``, with all derivatives; they are exactly 0 where a kernel is 0."""
    differences = [
        column[None, :] - center[:, None] for column, center in zip(z, centers, strict=True)
    ]
    square = sum(difference * difference for difference in differences)
    far = square > 1 - jnp.finfo(z[0].dtype).minexp
    # Products of far differences may overflow.
    exponent = -sum(jnp.where(far, 0.0, difference) ** 2 for difference in differences)
    return jnp.where(far, 0.0, jnp.exp2(exponent))


def gaussian(exp2: Callable, z: Columns, centers: Columns) -> tuple[jax.Array]:
    """Kernel values, at most 1, of white samples and centers with broadcasting shapes."""
    exponent: jax.Array | float = 0.0
    for column, center in zip(z, centers, strict=True):
        difference = column - center
        exponent = exponent - difference * difference
    return (exp2(exponent),)


def _pairs(backend: Backend, kernels: WhiteKernels) -> PairTables:
    whiten = kernels.whiten

    def prepare(columns: Columns) -> Columns:
        return backend.transform(whiten.matrix, whiten.scaled(columns))

    return PairTables(prepare, kernels.centers, partial(gaussian, backend.exp2))


def _sums(backend: Backend, x, weights, centers, cov):
    return _sums_of(backend, x, weights, white_kernels(centers, cov))


def _sums_of(backend: Backend, x, weights, kernels):
    pairs = _pairs(backend, kernels)
    return kernels.norm * backend.over_samples(pairs, x, weights, lambda _, w: [w])[0][:, 0]


def block_gradients(z, weights, centers, rows):
    """Gradients with respect to the white coordinates and the weights, (size,) each, of a block.

    ``rows`` are the ``gradient_rows`` of the cotangent.
    """
    sums = matmul(rows, kernel_values(z, centers))
    return _finish(z, weights, list(sums))


def gradient_rows(centers: Columns, cotangent: jax.Array) -> jax.Array:
    """Factors (d + 1, K) of kernels N_k for sum_k g_k N_k and sum_k g_k c_k N_k."""
    return jnp.stack([cotangent, *(cotangent * c for c in centers)])


def _finish(z: Columns, weights: jax.Array, sums: Columns) -> tuple[Columns, jax.Array]:
    total, *firsts = sums
    factor = -_SLOPE * weights
    return [factor * (c * total - first) for c, first in zip(z, firsts, strict=True)], total


def _sample_gradients(backend: Backend, x, weights, centers, cov, cotangent):
    return _gradients_of_samples(backend, x, weights, white_kernels(centers, cov), cotangent)


def _gradients_of_samples(backend: Backend, x, weights, kernels, cotangent):
    pairs = _pairs(backend, kernels)

    def finish(z, w, sums):
        gradients, total = _finish(z, w, sums)
        return [*kernels.whiten.pull_back(gradients), total]

    rows = [gradient_rows(pairs.kernels, kernels.norm * cotangent)]
    *columns, total = backend.over_kernels(pairs, x, weights, rows, finish)
    return jnp.stack(columns, axis=1), total


def _center_gradients(backend: Backend, x, weights, centers, cov, cotangent):
    kernels = white_kernels(centers, cov)
    pairs = _pairs(backend, kernels)
    white = _white_center_gradients(backend, x, weights, pairs, kernels.norm * cotangent)
    return jnp.stack(kernels.whiten.pull_back(white), axis=1)


def _white_center_gradients(backend: Backend, x, weights, pairs, cotangent):
    moments = backend.over_samples(pairs, x, weights, lambda z, w: [w, *(w * c for c in z)])[0]
    factor = _SLOPE * cotangent
    return [factor * (moments[:, i + 1] - c * moments[:, 0]) for i, c in enumerate(pairs.kernels)]


def _cov_gradient(backend: Backend, x, weights, centers, cov, cotangent):
    """With d = z - c: ``W^T (sum_kn g_k w_n N_nk [2 ln2 d d^T - 1]) W / (2 scale^2)``.

    The second moment comes from the gradients in z and c, which contain one factor d.
    """
    kernels = white_kernels(centers, cov)
    pairs, whiten = _pairs(backend, kernels), kernels.whiten
    cotangent = kernels.norm * cotangent
    rows = gradient_rows(pairs.kernels, cotangent)

    def body(columns, w):
        z = whiten(columns)
        gradients, total = block_gradients(z, w, pairs.kernels, rows)
        return matmul(jnp.stack(gradients), jnp.stack(z, axis=1)), matmul(w, total)

    second, counts = (tree_sum(part) for part in scan_tiles(body, x, weights))
    white = _white_center_gradients(backend, x, weights, pairs, cotangent)
    second = second + matmul(jnp.stack(white), jnp.stack(pairs.kernels, axis=1))
    middle = -second - counts * jnp.eye(len(cov), dtype=cov.dtype)
    inverse = whiten.matrix * whiten.scale
    full = matmul(inverse.T, matmul(middle, inverse))
    return (full + full.T) / (4.0 * SCALE**2)
