"""Units of work: the sums of one block of samples at one block of kernels.

A device has several blocks. ``one_by_one`` evaluates the blocks one after the other, and
``side_by_side`` evaluates many blocks at once. Both add the sums of the blocks up along the same
tree.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.flatten_util import ravel_pytree

# unit(params, block index, block of the catalog, kernel block index) -> pytree of sums
UnitSums = Callable[[jax.Array, jax.Array, Any, jax.Array], Any]
# The same, with the sums as one vector.
FlatSums = Callable[[jax.Array, jax.Array, Any, jax.Array], jax.Array]
# Cotangents (all kernel blocks, sums) -> gradients (nodes, kernel blocks, parameters).
PullBack = Callable[[jax.Array], jax.Array]
# First block of a device, and the number of its blocks.
Share = tuple[jax.Array, jax.Array]


class Units(Protocol):
    """Evaluates the units of a device, within ``jax.shard_map``.

    Tables (nodes, kernel blocks, ...) have a row for each node of the sum tree, which is the sum of
    an aligned power of two of blocks.
    """

    def sums(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Share
    ) -> jax.Array:
        """Sums (nodes, kernel blocks, sums), each row like ``like``."""
        ...

    def pulled_back(
        self, flat: FlatSums, params: jax.Array, catalog: Any, share: Share, cotangents: jax.Array
    ) -> jax.Array:
        """Gradients (nodes, kernel blocks, parameters) of the sums times ``cotangents``."""
        ...

    def sums_and_pullback(
        self, flat: FlatSums, like: Any, params: jax.Array, catalog: Any, share: Share
    ) -> tuple[jax.Array, PullBack]:
        """``sums``, and ``pulled_back`` as a function of the cotangents."""
        ...


def traced(
    unit: UnitSums, params: jax.Array, catalog: Any
) -> tuple[FlatSums, jax.Array, Callable[[jax.Array], Any]]:
    """Return a unit's sums as one vector, such a vector of zeros, and what makes it a pytree.

    The Python code of the unit is traced once. The sums and their derivatives then follow from the
    jaxpr.
    """
    block, index = unit_shapes(catalog)
    program, shapes = jax.make_jaxpr(unit, return_shape=True)(params, index, block, index)
    evaluate = jaxpr_as_fun(program)

    def flat(*arguments: Any) -> jax.Array:
        return ravel_pytree(evaluate(*jax.tree.leaves(arguments)))[0]

    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return flat, *ravel_pytree(zeros)


def unit_shapes(catalog: Any) -> tuple[Any, Any]:
    """Shapes of a block of the catalog, and of an index of a block."""
    block = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), catalog)
    return block, jax.ShapeDtypeStruct((), jnp.int32)
