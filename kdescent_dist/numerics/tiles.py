"""Samples in tiles of equal size, so that samples x kernels is never held in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

TILE = 4096  # samples; 20 kernel values of each stay in the cache of a core


def tile_shape(n: int) -> tuple[int, int]:
    """Return the number of tiles and their size, which follow from the number of samples alone.

    Sizes are evened out, rather than full tiles with a nearly empty last one, and a multiple of
    the width of vector registers. There are at least two tiles: the compiler would merge a loop
    of a single one into the program around it, whose last bits then depend on that program.
    """
    tiles = max(-(-n // TILE), 2)
    return tiles, -(-n // (32 * tiles)) * 32


def scan_tiles(
    body: Callable[[list[jax.Array], jax.Array], Any], x: jax.Array, weights: jax.Array
) -> Any:
    """Apply ``body`` to each tile of samples and stack what it returns.

    The last tile is padded with weight 0. Nothing is carried from tile to tile: the caller
    adds up the stacked results, in an order of its own.

    Args:
        body: function of the d coordinates, each of shape (size,), and of the weights (size,).
        x: (n, d) samples.
        weights: (n,) weights.
    """
    n, dims = x.shape
    tiles, size = tile_shape(n)
    pad = tiles * size - n
    columns = [jnp.pad(x[:, i], (0, pad)).reshape(tiles, size) for i in range(dims)]
    columns.append(jnp.pad(weights, (0, pad)).reshape(tiles, size))

    def step(_: None, tile: Sequence[jax.Array]) -> tuple[None, Any]:
        return None, body(list(tile[:-1]), tile[-1])

    return lax.scan(step, None, columns)[1]


def map_rows(body: Callable[[Any], Any], tree: Any) -> Any:
    """Apply ``body`` to each row of a pytree of arrays (m, ...) and stack what it returns.

    The same as ``lax.map``, except that arrays without elements, such as the edges of bins that
    have no conditional columns, are constants of ``body``. jaxlib 0.11.2 dies on a mapped one
    (SIGSEGV), where it is an argument of ``shard_map`` and the loop around has a run-time length.
    """
    leaves, structure = jax.tree.flatten(tree)
    mapped = [leaf for leaf in leaves if leaf.size]

    def of_row(row: Sequence[jax.Array]) -> Any:
        given = iter(row)
        filled = [
            next(given) if leaf.size else jnp.zeros(leaf.shape[1:], leaf.dtype) for leaf in leaves
        ]
        return body(structure.unflatten(filled))

    return lax.map(of_row, mapped)


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix product in full precision, also where the hardware would round its factors."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
