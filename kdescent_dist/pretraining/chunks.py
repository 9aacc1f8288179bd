"""Sums over a set of samples at many kernels, in chunks of kernels distributed over the devices.

Every device computes a chunk in the same way, so the sums have the same bits on any mesh. Every
device holds all samples, and computes one block of samples x one chunk of kernels at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from kdescent_dist.distributed.mesh import AXES, platform_of, replicated
from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.pretraining.validate import filled_size

# (kernels of a chunk, samples of a block). On a CPU, a tile fits into the cache of a core. A GPU
# needs many pairs.
_TILES = {"cpu": (64, 1024)}
_TILE = (1024, 8192)
_LANES = 16  # kernels per vector register

# (d coordinates of samples (size,), weights (size,), d coordinates of kernels (chunk,)) -> sums
# (rows, chunk) over a block of samples.
Body = Callable[[list[jax.Array], jax.Array, list[jax.Array]], jax.Array]


@dataclass(frozen=True)
class Counting:
    """How training samples are counted.

    Attributes:
        method: ``"direct"``, ``"finufft"`` or ``"auto"``.
        chunk: number of kernels per chunk of the direct method, None for a default.
        mesh: devices that share the work; by default the first device alone.
        comm: mpi4py communicator whose ranks share the work; all ranks get the result.
    """

    method: str = "auto"
    chunk: int | None = None
    mesh: Mesh | None = None
    comm: Any = None


def chunked_sums(
    body: Body, x: np.ndarray, weights: np.ndarray, kernels: np.ndarray, options: Counting
) -> np.ndarray:
    """Evaluate sums over samples at any number of kernels.

    Args:
        body: a module-level function, because its compiled form is cached by function.
        x: (d, n) samples, at least 1; the same in every process of the mesh.
        weights: (n,) weights.
        kernels: (d, K) kernel centers or modes.
        options: how the work is shared.

    Returns:
        (rows, K) sums.
    """
    chunk, block = _TILES.get(platform_of(options.mesh), _TILE)
    comm, mesh = options.comm, options.mesh
    fill = filled_size(max(len(weights), 2)) - len(weights)
    x, weights = np.pad(x, ((0, 0), (0, fill)), mode="edge"), np.pad(weights, (0, fill))
    dims, size = kernels.shape
    chunk = min(options.chunk or chunk, -(-size // _LANES) * _LANES)
    number = -(-size // chunk)
    filled = np.pad(kernels, ((0, 0), (0, number * chunk - size)), mode="edge")
    mine = np.moveaxis(filled.reshape(dims, number, chunk), 1, 0)
    if comm is not None:
        mine = np.array_split(mine, comm.size)[comm.rank]
    # At least two blocks: XLA would inline a loop over a single block, and the last bits would
    # depend on the surrounding program.
    table = _evaluate(_compiled(body, mesh, min(block, len(weights) // 2)), x, weights, mine, mesh)
    if comm is not None:
        table = np.concatenate(comm.allgather(table))
    return np.moveaxis(table, 1, 0).reshape(table.shape[1], -1)[:, :size]


def _evaluate(program, x, weights, chunks, mesh) -> np.ndarray:
    devices = 1 if mesh is None else mesh.size
    number = len(chunks)
    # At least one chunk, also for a rank without chunks, so that the result has a known shape.
    fill = -(-max(number, 1) // devices) * devices - number
    empty = np.zeros((fill, *chunks.shape[1:]), chunks.dtype)
    return np.asarray(program(x, weights, np.concatenate([chunks, empty])))[:number]


@lru_cache(maxsize=64)
def _compiled(body: Body, mesh: Mesh | None, block: int):
    def local(x, weights, chunks):
        blocks = [column.reshape(-1, block) for column in (*x, weights)]

        def one(kernels):
            def step(_, columns):
                return None, body(columns[:-1], columns[-1], list(kernels))

            return tree_sum(lax.scan(step, None, blocks)[1])

        return lax.map(one, chunks)

    if mesh is None:
        return compiled(local, jax.devices()[0])
    whole, dealt = PartitionSpec(), PartitionSpec(AXES)
    spread = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(whole, whole, dealt),
        out_specs=dealt,
        check_vma=False,
    )
    device, everywhere = mesh.devices.flat[0], replicated(mesh)
    return compiled(spread, device, in_shardings=everywhere, out_shardings=everywhere)
