"""Orders of samples that do not depend on parameters, computed once instead of in every step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from kdescent_dist.bins.stacks import BinStack
from kdescent_dist.bins.sums import order_of, sparse_groups
from kdescent_dist.models.block_model import BlockModel
from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.numerics.dataflow import depends_on


def fixed_orders(
    model: BlockModel, stacks: Sequence[BinStack], catalog: Mapping[str, jax.Array], mesh: Mesh
) -> Callable[[dict[str, jax.Array]], dict[str, jax.Array]]:
    """A program that sorts samples by columns that depend on the model's input catalog alone.

    Args:
        model: the model.
        stacks: stacked bins; sparse stacks need sorted samples.
        catalog: columns (blocks, block_size) of the input catalog, sharded over samples.
        mesh: mesh with an axis ``samples``.

    Returns:
        A function of such columns, which returns names of ``sparse_groups`` to permutations
        (blocks, samples of a block), without groups whose order depends on parameters or key.
    """
    groups = sparse_groups(stacks)
    if not catalog or not groups:
        return lambda catalog: {}
    # Any parameters and key will do: the orders to compute do not depend on them.
    dtype = next(iter(catalog.values())).dtype
    params, key = np.zeros(len(model.names), dtype), jax.random.key(0)

    def orders(params: Any, key: jax.Array, block: Any) -> dict[str, jax.Array]:
        population = model.population(params, key, 0, block)
        return {name: order_of(population, alike) for name, alike in groups.items()}

    block = {name: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for name, a in catalog.items()}
    moving = depends_on(orders, (params, key, block), (0, 1))
    if all(moving.values()):
        return lambda catalog: {}

    def fixed(block: Any) -> dict[str, jax.Array]:
        return {name: o for name, o in orders(params, key, block).items() if not moving[name]}

    split = PartitionSpec("samples")
    each_block = jax.shard_map(
        lambda catalog: jax.lax.map(fixed, catalog),
        mesh=mesh,
        in_specs=split,
        out_specs=split,
        check_vma=False,
    )
    return compiled(each_block, mesh.devices.flat[0])
