"""The samples of a block that count in a bin, in chunks.

Many bins hold few samples of a block each. The loop over chunks has as many turns as the samples in
the bin fill, so bins that share the samples cost together about as much as one bin with all.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.bins.windows import cutoff, in_window

T = TypeVar("T")

CHUNKS = 8  # of a block of intermediate size
SMALLEST, LARGEST = 512, 4096  # samples of a chunk


def reached(
    conditions: Sequence[jax.Array], like: jax.Array, window: Any, hard: Sequence[bool]
) -> jax.Array:
    """Whether the window of a bin reaches each of n samples.

    Args:
        conditions: c conditional columns, each (n,).
        like: (n,) array of the type of the weights.
        window, hard: see ``in_window``.
    """
    return in_window(conditions, jnp.ones_like(like), window, hard) > cutoff(like.dtype)


def over_chunks(of_chunk: Callable[[T, jax.Array], T], chosen: jax.Array, total: T) -> T:
    """Loop over chunks of the chosen samples; the result does not depend on other samples.

    Args:
        of_chunk: function of the total and of the indices of the samples of a chunk, which returns
            the next total. The last indices of the last chunk are n, see ``at_rows``.
        chosen: (n,) whether a sample is chosen.
        total: the first total.
    """
    n = len(chosen)
    size = min(n, max(SMALLEST, min(n // CHUNKS, LARGEST)))
    rows = jnp.nonzero(chosen, size=-(-n // size) * size, fill_value=n)[0]

    def turn(i: jax.Array, total: T) -> T:
        return of_chunk(total, lax.dynamic_slice_in_dim(rows, i * size, size))

    # The compiler does not know the length, and cannot fuse the body with what is around it.
    return lax.fori_loop(0, -(-jnp.sum(chosen) // size), turn, total)


def at_rows(arrays: Any, rows: jax.Array) -> Any:
    """Arrays (..., n) at indices of samples; 0 at an index of n."""
    return jax.tree.map(lambda a: jnp.take(a, rows, axis=-1, mode="fill", fill_value=0), arrays)
