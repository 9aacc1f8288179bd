"""Counts of one set of samples at many kernels, in chunks of kernels dealt out to the devices.

A chunk is computed in the same way wherever it lands, so the counts are the same bits on any
mesh. Every device holds all samples, and one block of samples x one chunk of kernels at a time.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from kdescent_dist.mesh import AXES, replicated
from kdescent_dist.training_data import filled_up

CHUNK = 64  # kernels; with a block of samples they stay in the cache of a core

# Arrays of counts of one chunk, each (chunk,), from samples, weights, kernels and the rest.
Counts = Callable[..., tuple[jax.Array, ...]]


def chunked_counts(
    counts: Counts,
    x: np.ndarray,
    weights: np.ndarray | None,
    kernels: np.ndarray,
    rest: tuple[np.ndarray, ...] = (),
    *,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    comm=None,
) -> list[np.ndarray]:
    """Evaluate ``counts(x, weights, kernels, *rest)`` at any number of kernels.

    Args:
        counts: a function of the module level, as its compiled form is kept.
        x: (n, d) samples, the same in every process.
        weights: (n,) weights, or None.
        kernels: (K, d) kernel centers or modes.
        rest: further arguments of ``counts``.
        chunk: kernels of one chunk, by default 64.
        mesh: devices that take turns; by default the first one takes all.
        comm: mpi4py communicator whose ranks take turns, too, and all get the result.

    Returns:
        What ``counts`` returns, each (K,).
    """
    x, weights = filled_up(x, np.ones(len(x), x.dtype) if weights is None else weights)
    size, dims = kernels.shape
    chunk = min(chunk or CHUNK, max(size, 1))
    number = -(-size // chunk)
    filled = np.pad(kernels, ((0, number * chunk - size), (0, 0)), mode="edge" if size else "empty")
    mine = filled.reshape(number, chunk, dims)
    if comm is not None:
        mine = np.array_split(mine, comm.size)[comm.rank]
    tables = _evaluate(counts, x, weights, mine, rest, mesh)
    if comm is not None:
        ranks = comm.allgather(tables)
        tables = [np.concatenate(parts) for parts in zip(*ranks, strict=True)]
    return [table.reshape(-1)[:size] for table in tables]


def _evaluate(counts, x, weights, chunks, rest, mesh) -> list[np.ndarray]:
    devices = 1 if mesh is None else mesh.size
    number = len(chunks)
    # At least one chunk, also for a rank without any, so that the types of the result are known.
    fill = -(-max(number, 1) // devices) * devices - number
    empty = np.zeros((fill, *chunks.shape[1:]), chunks.dtype)
    chunks = np.concatenate([chunks, empty])
    tables = _compiled(counts, mesh)(x, weights, chunks, *rest)
    return [np.asarray(table)[:number] for table in tables]


@lru_cache(maxsize=64)
def _compiled(counts: Counts, mesh: Mesh | None):
    def local(x, weights, chunks, *rest):
        return jax.lax.map(lambda kernels: counts(x, weights, kernels, *rest), chunks)

    if mesh is None:
        return jax.jit(local)
    everywhere, dealt = PartitionSpec(), PartitionSpec(AXES)

    def spread(x, weights, chunks, *rest):
        return jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(everywhere, everywhere, dealt, *(everywhere for _ in rest)),
            out_specs=dealt,
            check_vma=False,
        )(x, weights, chunks, *rest)

    return jax.jit(spread, in_shardings=replicated(mesh), out_shardings=replicated(mesh))
