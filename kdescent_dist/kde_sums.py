"""Weighted sums of normalized Gaussian kernels, with a derivative that recomputes the kernels.

With ``cov = L L^T`` and ``W = sqrt(log2(e) / 2) L^-1``, a kernel is ``2^-|W (x - c)|^2`` up to
its norm. Samples and centers are whitened once, relative to the median of the centers so that an
offset of both costs no digits, and a pair then takes one difference and one product a dimension.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from kdescent_dist.blocks import matmul, scan_blocks, unblock
from kdescent_dist.elementary import exp2_nonpositive
from kdescent_dist.mesh import tree_sum

_SCALE = math.sqrt(0.5 / math.log(2.0))
_SLOPE = 2.0 * math.log(2.0)  # 2^-d^2 has the derivative -_SLOPE d 2^-d^2
_FAR = 1e15  # kernel widths; what is farther counts as this far, whose square is finite


@jax.custom_vjp
def kde_sums(x: jax.Array, weights: jax.Array, centers: jax.Array, cov: jax.Array) -> jax.Array:
    """Return ``sum_n w_n N(x_n; center_k, cov)`` of shape (K,); all arguments of one dtype."""
    whiten, white_centers, norm = whitening(centers, cov)

    def body(columns: list[jax.Array], w: jax.Array) -> jax.Array:
        return matmul(kernel_values(whiten(columns), white_centers), w)

    return norm * tree_sum(scan_blocks(body, x, weights))


def _forward(x, weights, centers, cov):
    return kde_sums(x, weights, centers, cov), (x, weights, centers, cov)


def _backward(saved, cotangent):
    x, weights, centers, cov = saved
    grad_x, grad_weights = _sample_gradients(x, weights, centers, cov, cotangent)
    grad_centers = _center_gradients(x, weights, centers, cov, cotangent)
    grad_cov = _cov_gradient(x, weights, centers, cov, cotangent)
    return grad_x, grad_weights, grad_centers, grad_cov


kde_sums.defvjp(_forward, _backward)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Whitening:
    """The affine map to coordinates in which a kernel is ``2^-|z - c|^2``.

    First each coordinate by itself is shifted and scaled, then a triangular matrix with ones on
    its diagonal takes out the correlations: in between, far samples can be cut off without
    regard to the units of the coordinates.
    """

    origin: Any
    scale: Any
    matrix: Any

    def __call__(self, columns: list[jax.Array]) -> list[jax.Array]:
        scaled = [
            jnp.clip((column - origin) * scale, -_FAR, _FAR)
            for column, origin, scale in zip(columns, self.origin, self.scale, strict=True)
        ]
        # A matrix product is not fused with what follows, which would repeat it for every kernel.
        return list(matmul(self.matrix, jnp.stack(scaled)))

    def pull_back(self, gradients: list[jax.Array]) -> list[jax.Array]:
        """Map a gradient in the white coordinates to one in the original coordinates."""
        matrix = self.matrix * self.scale
        return [_combine(matrix[j:, j], gradients[j:]) for j in range(len(gradients))]


def _combine(factors: jax.Array, columns: list[jax.Array]) -> jax.Array:
    """A short product, written out: there are as many terms as dimensions at most."""
    total = factors[0] * columns[0]
    for i in range(1, len(columns)):
        total = total + factors[i] * columns[i]
    return total


def whitening(centers: jax.Array, cov: jax.Array) -> tuple[Whitening, list[jax.Array], jax.Array]:
    """Return the map, the d coordinates (K,) of the white centers, and the norm of a kernel."""
    lower = jnp.linalg.cholesky(cov)
    widths = jnp.diagonal(lower)
    matrix = solve_triangular(lower, jnp.diag(widths), lower=True)
    norm = jnp.prod(1.0 / (math.sqrt(2.0 * math.pi) * widths))
    whiten = Whitening(jnp.sort(centers, axis=0)[len(centers) // 2], _SCALE / widths, matrix)
    return whiten, whiten(list(centers.T)), norm


def kernel_values(z: list[jax.Array], centers: list[jax.Array]) -> jax.Array:
    """Kernel values (K, size), at most 1, of one block."""
    exponent: jax.Array | float = 0.0
    for column, center in zip(z, centers, strict=True):
        difference = column[None, :] - center[:, None]
        exponent = exponent - difference * difference
    return exp2_nonpositive(jnp.asarray(exponent))


def block_gradients(z, weights, centers, cotangent):
    """Gradients with respect to the white coordinates and the weights of one block."""
    # One product of (d + 1, K) with (K, size) gives sum_k g_k and sum_k g_k c_k under the kernels.
    rows = jnp.stack([cotangent, *(cotangent * c for c in centers)])
    total, *firsts = matmul(rows, kernel_values(z, centers))
    factor = -_SLOPE * weights
    return [factor * (c * total - first) for c, first in zip(z, firsts, strict=True)], total


def _sample_gradients(x, weights, centers, cov, cotangent):
    whiten, white_centers, norm = whitening(centers, cov)

    def body(columns, w):
        gradients, total = block_gradients(whiten(columns), w, white_centers, norm * cotangent)
        return whiten.pull_back(gradients), total

    columns, total = scan_blocks(body, x, weights)
    return unblock(columns, len(x)), total.reshape(-1)[: len(x)]


def _center_gradients(x, weights, centers, cov, cotangent):
    """A loop of its own, which the compiler drops where no one asks for this gradient."""
    whiten, white_centers, norm = whitening(centers, cov)
    white = _white_center_gradients(x, weights, whiten, white_centers, norm * cotangent)
    return jnp.stack(whiten.pull_back(white), axis=1)


def _white_center_gradients(x, weights, whiten, white_centers, cotangent):
    def body(columns, w):
        z = whiten(columns)
        moments = jnp.stack([w, *(w * c for c in z)], axis=1)
        return matmul(kernel_values(z, white_centers), moments)

    moments = tree_sum(scan_blocks(body, x, weights))
    factor = _SLOPE * cotangent
    return [factor * (moments[:, i + 1] - c * moments[:, 0]) for i, c in enumerate(white_centers)]


def _cov_gradient(x, weights, centers, cov, cotangent):
    """With d = z - c: ``W^T (sum_kn g_k w_n N_nk [2 ln2 d d^T - 1]) W / (2 scale^2)``.

    The second moment comes from the gradients in z and c, which hold one factor d already.
    """
    whiten, white_centers, norm = whitening(centers, cov)
    cotangent = norm * cotangent

    def body(columns, w):
        z = whiten(columns)
        gradients, total = block_gradients(z, w, white_centers, cotangent)
        return matmul(jnp.stack(gradients), jnp.stack(z, axis=1)), matmul(w, total)

    second, counts = (tree_sum(part) for part in scan_blocks(body, x, weights))
    white = _white_center_gradients(x, weights, whiten, white_centers, cotangent)
    second = second + matmul(jnp.stack(white), jnp.stack(white_centers, axis=1))
    middle = -second - counts * jnp.eye(len(cov), dtype=cov.dtype)
    inverse = whiten.matrix * whiten.scale
    full = matmul(inverse.T, matmul(middle, inverse))
    return (full + full.T) / (4.0 * _SCALE**2)
