"""Cholesky factors of small matrices, and products and sums of tall tables, fast on CPUs.

XLA factors each small matrix in a LAPACK call of its own. For tables of few columns, XLA multiplies
and sums without vector instructions. Here, the Cholesky factor is written out, and several rows of
a table are folded into one. The results are the same to rounding. Tables have the shape
(n, columns).
"""

from itertools import product

import jax
import jax.numpy as jnp

from kdescent_dist.numerics.differentiable import differentiable
from kdescent_dist.numerics.tiles import matmul

PRODUCT_WIDTH = 16  # most columns of a folded table; a wider table multiplies more zeros
SUM_WIDTH = 40  # most columns of a folded table that is summed


def cholesky(a: jax.Array) -> jax.Array:
    """Lower Cholesky factors of symmetric matrices (..., d, d), NaN if not positive definite.

    Only the lower triangles are read, as by LAPACK. The algorithm is Cholesky-Banachiewicz (Golub
    and Van Loan, Matrix Computations, section 4.2).
    """
    size = a.shape[-1]
    zero = jnp.zeros_like(a[..., 0, 0])
    factor = [[zero] * size for _ in range(size)]
    for i, j in product(range(size), repeat=2):
        if j > i:
            continue
        rest = a[..., i, j]
        for k in range(j):
            rest = rest - factor[i][k] * factor[j][k]
        factor[i][j] = jnp.sqrt(rest) if i == j else rest / factor[j][j]
    rows = jnp.stack([jnp.stack(row, axis=-1) for row in factor], axis=-2)
    # As with LAPACK, the whole factor is NaN if a square root fails.
    good = jnp.all(jnp.diagonal(rows, axis1=-2, axis2=-1) > 0, axis=-1)
    return jnp.where(good[..., None, None], rows, jnp.nan)


def _product(table: jax.Array, matrix: jax.Array) -> jax.Array:
    """Product of a table (n, d) and a matrix (d, e), of shape (n, e)."""
    fold = _fold(len(table), max(matrix.shape), PRODUCT_WIDTH)
    wide = jnp.kron(jnp.eye(fold, dtype=matrix.dtype), matrix)
    return matmul(_folded(table, fold), wide).reshape(-1, matrix.shape[1])[: len(table)]


def _product_backward(factors, cotangent):
    table, matrix = factors
    of_matrix = [column_sums(table[:, i : i + 1] * cotangent) for i in range(table.shape[1])]
    return table_product(cotangent, matrix.T), jnp.stack(of_matrix)


table_product = differentiable(_product, _product_backward)


def _column_sums(table: jax.Array) -> jax.Array:
    """Sums (columns,) over the rows of a table."""
    columns = table.shape[1]
    fold = _fold(len(table), columns, SUM_WIDTH)
    wide = _folded(table, fold)
    return matmul(jnp.ones(len(wide), table.dtype), wide).reshape(fold, columns).sum(axis=0)


column_sums = differentiable(
    _column_sums, lambda arrays, cotangent: (jnp.broadcast_to(cotangent, arrays[0].shape),)
)


def _repeated(rows: int, values: jax.Array) -> jax.Array:
    """A table of equal rows (columns,)."""
    return jnp.broadcast_to(values, (rows, len(values)))


repeated = differentiable(_repeated, lambda rows, _, cotangent: (column_sums(cotangent),), static=1)


def _fold(rows: int, columns: int, width: int) -> int:
    """Number of rows to fold into one, preferably a divisor of ``rows``, which needs no padding."""
    most = max(width // columns, 1)
    return next((fold for fold in range(most, most // 2, -1) if rows % fold == 0), most)


def _folded(table: jax.Array, fold: int) -> jax.Array:
    rows, columns = table.shape
    return jnp.pad(table, ((0, -rows % fold), (0, 0))).reshape(-1, fold * columns)
