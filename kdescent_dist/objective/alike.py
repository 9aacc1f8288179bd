"""Whether a device computes each block of a piece as it computes the block alone.

The bits of a fit are the same on any mesh if they are. XLA does not promise this: a product of
matrices of a model may use another algorithm for another number of blocks.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.distributed.mesh import AXES
from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.objective.chain_rule import ChainRule, SumsLoss
from kdescent_dist.objective.units import UnitSums, traced


def blocks_alike(
    rule: ChainRule,
    make: Callable[[Any, jax.Array], tuple[UnitSums, SumsLoss]],
    params: jax.Array,
    key: jax.Array,
    shared: Any,
    catalog: Any,
    shares: jax.Array,
    *,
    written_out: bool,
) -> bool:
    """Whether sums and their gradients have the same bits for one block at a time.

    Args:
        rule: a rule that evaluates many blocks at once.
        make, params, key, shared, catalog, shares: as in ``ChainRule.value_and_grad``.
        written_out: see ``numerics.compiled.compiled``.
    """

    def local(params, key, shared, catalog, shares):
        unit, _ = make(shared, key)
        flat, vector, _ = traced(unit, params, catalog)
        first, number, _ = shares[0]
        ones = jnp.ones((rule.kernel_blocks, *vector.shape), vector.dtype)

        def tables(units: Any) -> tuple[jax.Array, jax.Array]:
            table, pull = units.sums_and_pullback(flat, vector, params, catalog, (first, number))
            return table, pull(ones)

        pairs = zip(tables(rule.units), tables(replace(rule, most=1).units), strict=True)
        differs = sum(jnp.sum((a != b) & ~(jnp.isnan(a) & jnp.isnan(b))) for a, b in pairs)
        return lax.psum(differs, AXES)

    run = compiled(partial(rule.on_mesh, local), rule.mesh.devices.flat[0], written_out=written_out)
    return int(run(params, key, shared, catalog, shares)) == 0
