"""Sums of rows along a fixed binary tree, so that every mesh gives the same bits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def tree_sum(table: jax.Array) -> jax.Array:
    """Add the rows of a table pairwise, in an order fixed by the number of rows alone.

    Neighbors are added first. So rows of zeros at the end change nothing, and the sum of an
    aligned power of two of rows may be computed separately. XLA cannot reassociate explicit
    elementwise additions, so the bits do not depend on the surrounding program. The rounding error
    grows as log2 of the number of rows.
    """
    while (rows := table.shape[0]) > 1:
        paired = table[0 : rows - rows % 2 : 2] + table[1::2]
        table = jnp.concatenate([paired, table[rows - 1 :]]) if rows % 2 else paired
    return table[0]


def streamed_sum(
    row: Callable[[jax.Array], jax.Array], number: jax.Array, most: int, shape: Any
) -> jax.Array:
    """Add rows in the order of ``tree_sum``, one row at a time and in O(log) memory.

    The partial sums follow a binary counter: the digit of 2^k holds the sum of 2^k rows while that
    digit is 1. The number of rows is known at run time only.

    Args:
        row: function from an index to a row.
        number: number of rows, up to ``most``.
        most: largest ``number``, a power of two.
        shape: shape and type of a row.
    """
    levels = most.bit_length()
    # At least two levels: XLA would drop the index of a single level, and compile another program.
    digits = jnp.zeros((max(levels, 2), *shape.shape), shape.dtype)

    def add(i: jax.Array, digits: jax.Array) -> jax.Array:
        def carry(state: tuple) -> tuple:
            level, sums = state
            return level + 1, digits[level] + sums

        def carries(state: tuple) -> jax.Array:
            return (i >> state[0]) & 1 == 1

        level, sums = lax.while_loop(carries, carry, (jnp.int32(0), row(i)))
        return digits.at[level].set(sums)

    digits = lax.fori_loop(0, number, add, digits)
    total = jnp.zeros(shape.shape, shape.dtype)
    for level in range(levels):
        total = jnp.where((number >> level) & 1 == 1, digits[level] + total, total)
    return total


def materialize(values: Any, one: jax.Array) -> Any:
    """The same values, written to memory.

    XLA rounds differently when it fuses two steps than when a collective separates them. XLA also
    recomputes random numbers for each of their uses. A loop whose length is a run-time value
    prevents fusion across the loop. ``lax.optimization_barrier`` does not: on CPUs, XLA removes the
    barrier before fusion.

    Args:
        values: a pytree of arrays.
        one: the integer 1, as a run-time value that XLA cannot constant-fold.
    """
    zeros = jax.tree.map(jnp.zeros_like, values)
    return lax.fori_loop(0, one, lambda _, __: values, zeros)
