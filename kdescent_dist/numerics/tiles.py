"""Tiles of samples of equal size, so that a table samples x kernels is never held in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

TILE = 4096  # samples; 20 kernel values per sample fit into the cache of a core


def tile_shape(n: int) -> tuple[int, int]:
    """Return the number and the size of tiles, which follow from the number of samples alone.

    Tiles are evenly filled, and their size is a multiple of the width of vector registers. There
    are at least two tiles: XLA would inline a loop over a single tile, and the last bits would
    depend on the surrounding program.
    """
    tiles = max(-(-n // TILE), 2)
    return tiles, -(-n // (32 * tiles)) * 32


def scan_tiles(
    body: Callable[[list[jax.Array], jax.Array], Any], x: jax.Array, weights: jax.Array
) -> Any:
    """Apply ``body`` to each tile of samples and stack the results.

    The last tiles are padded with samples of weight 0. The caller adds the stacked results, and so
    chooses the order of summation.

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
    """Apply ``body`` to each row of a pytree of arrays (m, ...) and stack the results.

    ``lax.map`` does the same, but here empty arrays are constants of ``body``, such as the edges of
    bins without conditional columns. jaxlib 0.11.2 crashes (SIGSEGV) if ``lax.map`` maps an empty
    array that is an argument of ``shard_map``, within a loop of run-time length.
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
    """Matrix product in full precision, also on hardware that would round the factors."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
