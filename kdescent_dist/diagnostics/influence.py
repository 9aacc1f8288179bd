"""What single samples do to the sums of a bin: derivatives of the sums, and influences of rows.

The influence of a sample on an estimate is what the estimate changes by when the sample is added,
to first order (Hampel 1974). All functions are traceable, take the samples in chunks so that
samples x kernels is never held, and differentiate forward: the sums by the parameters through
the samples of a model, at a cost that does not grow with the kernels times the parameters.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular

from kdescent_dist.numerics.tiles import matmul

CHUNK = 4096  # samples


def sum_derivatives(
    x: jax.Array, weights: jax.Array, dx: Sequence[jax.Array], dweights: jax.Array, points: Any
) -> dict[str, jax.Array]:
    """The sums of a bin over samples, their derivatives by P parameters, and squared errors.

    Args:
        x: (n, d) samples.
        weights: (n,) weights, the window included.
        dx, dweights: derivatives of these by the parameters: d columns (P, n), and (P, n).
        points: kernel centers (k, d), their covariance (d, d) and wave vectors (q, d).

    Returns:
        ``counts`` (k + 2 q + 1,): kernel counts, real and imaginary parts of Fourier counts, and
        the sum of the weights; ``slopes`` (P, k + 2 q + 1), their derivatives; ``squares``
        (k + 2 q + 1,), the sums of squares of what the samples add to them.
    """
    modes = jnp.asarray(points[2], x.dtype)
    slopes = len(dweights)

    def of_chunk(chunk: Any) -> dict[str, jax.Array]:
        x, w, dx, dw = chunk
        dw = dw.T
        tables, (u, v, inverse) = _tables(x, points)
        kernels, cos, sin = tables
        # Column by column, written out: products of slices of one table (P, n, d) have come out
        # wrong on CPUs.
        dims = range(x.shape[1])
        wdx = [w * column.T for column in dx]
        zeros = jnp.zeros_like(dw)
        wdu = [sum((inverse[j, i] * wdx[i] for i in range(j + 1)), zeros) for j in dims]
        by_kernels = matmul(dw - sum((u[:, j] * wdu[j] for j in dims), zeros), kernels)
        by_cos, by_sin = matmul(dw, cos), matmul(dw, sin)
        for j in dims:
            by_kernels += v[:, j] * matmul(wdu[j], kernels)
            by_cos -= modes[:, j] * matmul(wdx[j], sin)
            by_sin += modes[:, j] * matmul(wdx[j], cos)
        total = jnp.sum(dw, axis=1)[:, None]
        once = jnp.concatenate([*tables, jnp.ones_like(w)[:, None]], axis=1)
        return {
            "counts": matmul(w, once),
            "slopes": jnp.concatenate([by_kernels, by_cos, by_sin, total], axis=1),
            "squares": matmul(w * w, once * once),
        }

    size = len(points[0]) + 2 * len(modes) + 1
    zero = {
        "counts": jnp.zeros(size, x.dtype),
        "slopes": jnp.zeros((slopes, size), x.dtype),
        "squares": jnp.zeros(size, x.dtype),
    }

    def add(total: Any, chunk: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_chunk(chunk)), None

    columns = (x, weights, tuple(column.T for column in dx), dweights.T)
    return lax.scan(add, zero, jax.tree.map(_chunks, columns))[0]


def influences(
    x: jax.Array, weights: jax.Array, all_weights: jax.Array, points: Any, factors: Any
) -> jax.Array:
    """Influence (n, P) of each sample on P numbers that are linear in the sums of a bin.

    Args:
        x: (n, d) samples.
        weights: (n,) weights, the window included.
        all_weights: (n,) weights without it.
        points: as of ``sum_derivatives``.
        factors: (k + 2 q + 1, P) of the counts and of the sum of the weights in the bin, and (P,)
            of the sum of all weights.
    """
    of_counts, of_all = (jnp.asarray(a, x.dtype) for a in factors)

    def of_chunk(chunk: Any) -> jax.Array:
        x, w, everywhere = chunk
        tables, _ = _tables(x, points)
        linear = matmul(jnp.concatenate(tables, axis=1), of_counts[:-1]) + of_counts[-1]
        return w[:, None] * linear + everywhere[:, None] * of_all

    by_chunk = lax.map(of_chunk, jax.tree.map(_chunks, (x, weights, all_weights)))
    return by_chunk.reshape(-1, by_chunk.shape[-1])[: len(x)]


def _tables(x: jax.Array, points: Any) -> tuple[list[jax.Array], tuple[jax.Array, ...]]:
    """Kernels (n, k), cosines and sines (n, q); whitened x and centers, and what whitens them."""
    centers, cov, modes = (jnp.asarray(a, x.dtype) for a in points)
    dims = x.shape[1]
    root = jnp.linalg.cholesky(cov)
    inverse = solve_triangular(root, jnp.eye(dims, dtype=x.dtype), lower=True)
    # Near the origin, where differences of whitened coordinates keep their digits.
    origin = jnp.sum(centers, axis=0) / max(len(centers), 1)
    u, v = matmul(x - origin, inverse.T), matmul(centers - origin, inverse.T)
    square = sum((u[:, None, j] - v[None, :, j]) ** 2 for j in range(dims))
    peak = jnp.prod(jnp.diagonal(root)) * (2 * jnp.pi) ** (dims / 2)
    phases = matmul(x, modes.T)
    return [jnp.exp(-0.5 * square) / peak, jnp.cos(phases), jnp.sin(phases)], (u, v, inverse)


def _chunks(values: jax.Array) -> jax.Array:
    """Rows (n, ...) as (chunks, size, ...), filled up with zeros, which weigh nothing."""
    n = len(values)
    size = min(CHUNK, n)
    filled = jnp.pad(values, [(0, -n % size)] + [(0, 0)] * (values.ndim - 1))
    return filled.reshape(-1, size, *values.shape[1:])
