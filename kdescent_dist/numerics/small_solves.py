"""Triangular solves and LU factors of small matrices, written out in elementwise operations.

Matrices have the shape (..., d, d), and d is so small that each row is an operation of its own. The
algorithms are those of LAPACK without blocks (Golub and Van Loan, Matrix Computations, sections 3.1
and 3.4); results agree to rounding.
"""

import jax
import jax.numpy as jnp


def triangular_solve(
    a: jax.Array,
    b: jax.Array,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    unit_diagonal: bool,
) -> jax.Array:
    """Solve ``op(a) x = b`` or, if not ``left_side``, ``x op(a) = b``.

    Args:
        a: (..., d, d) real triangular matrices; the other triangle is not read.
        b: (..., d, n), or (..., n, d) if not ``left_side``.
        left_side, lower, transpose_a, unit_diagonal: as for ``jax.lax.linalg.triangular_solve``.

    Returns:
        Solutions in the shape of ``b``.
    """
    if not left_side:
        turned = triangular_solve(
            *(a, jnp.swapaxes(b, -1, -2)),
            left_side=True,
            lower=lower,
            transpose_a=not transpose_a,
            unit_diagonal=unit_diagonal,
        )
        return jnp.swapaxes(turned, -1, -2)
    if transpose_a:
        a, lower = jnp.swapaxes(a, -1, -2), not lower
    size = a.shape[-1]
    order = range(size) if lower else range(size - 1, -1, -1)
    solved: dict[int, jax.Array] = {}
    for i in order:
        rest = b[..., i, :]
        for j, known in solved.items():
            rest = rest - a[..., i, j, None] * known
        solved[i] = rest if unit_diagonal else rest / a[..., i, i, None]
    return jnp.stack([solved[i] for i in range(size)], axis=-2)


def lu(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """LU factors with partial pivoting of real square matrices (..., d, d).

    Returns:
        As ``jax.lax.linalg.lu``: both factors in one matrix (..., d, d), the pivots (..., d) and
        the permutation (..., d) of the rows, int32.
    """
    size = a.shape[-1]
    index = jnp.arange(size, dtype=jnp.int32)
    order = jnp.broadcast_to(index, a.shape[:-1])
    pivots = []
    for k in range(size):
        magnitudes = jnp.where(index < k, -1, jnp.abs(a[..., k]))
        pivot = jnp.argmax(magnitudes, axis=-1).astype(jnp.int32)[..., None]
        pivots.append(pivot)
        rows = jnp.where(index == k, pivot, jnp.where(index == pivot, k, index))
        a = jnp.take_along_axis(a, rows[..., None], axis=-2)
        order = jnp.take_along_axis(order, rows, axis=-1)
        a = _eliminated(a, k)
    return a, jnp.concatenate(pivots, axis=-1), order


def _eliminated(a: jax.Array, k: int) -> jax.Array:
    """Subtract row k from all later rows, which keep their factors in column k."""
    index = jnp.arange(a.shape[-1])
    pivot, later = a[..., k, k, None], index > k
    # As with LAPACK: below a pivot of 0, which is the largest entry, all entries are 0.
    factors = jnp.where(pivot == 0, 0, a[..., k] / jnp.where(pivot == 0, 1, pivot))
    factors = jnp.where(later, factors, 0)[..., None]
    reduced = jnp.where(later, a - factors * a[..., k : k + 1, :], a)
    return jnp.where(later[:, None] & (index == k), factors, reduced)
