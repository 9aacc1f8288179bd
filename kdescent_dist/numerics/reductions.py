"""Sums of rows along one fixed tree, whatever the mesh: the same bits everywhere."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def tree_sum(table: jax.Array) -> jax.Array:
    """Add the rows of a table pairwise, in an order fixed by their number alone.

    Neighbors are added first, so that rows of zeros at the end change nothing, and the sum of an
    aligned power of two of rows may be computed on its own. Explicit elementwise additions leave
    the compiler no freedom to reassociate, so the bits do not depend on the program around it;
    the rounding error grows as log2 of the number of rows.
    """
    while (rows := table.shape[0]) > 1:
        paired = table[0 : rows - rows % 2 : 2] + table[1::2]
        table = jnp.concatenate([paired, table[rows - 1 :]]) if rows % 2 else paired
    return table[0]


def streamed_sum(
    row: Callable[[jax.Array], jax.Array], number: jax.Array, most: int, shape: Any
) -> jax.Array:
    """Add rows one after the other as ``tree_sum`` would the table of them, in O(log) memory.

    A counter in binary: each of its digits that is 1 holds the sum of as many rows. The number of
    rows is known at run time only.

    Args:
        row: from an index to a row.
        number: rows, up to ``most``, a power of two.
        most: the largest ``number``.
        shape: shape and type of a row.
    """
    levels = most.bit_length()
    # With one level alone, it would be read and stored without an index.
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

    XLA rounds differently when it fuses two steps than when a collective separates them, and makes
    random numbers again for each use of them. A loop whose length XLA cannot know keeps what stands
    before the loop apart from what follows. ``lax.optimization_barrier`` does not do: on CPU it is
    gone before computations are fused.

    Args:
        values: a pytree of arrays.
        one: the number 1, an integer that XLA cannot know at compile time.
    """
    zeros = jax.tree.map(jnp.zeros_like, values)
    return lax.fori_loop(0, one, lambda _, __: values, zeros)
