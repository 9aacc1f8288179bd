"""Evaluation of a loss and its gradient, the same for steps of a fit and for a preview."""

from dataclasses import replace
from typing import Any

import jax

from kdescent_dist.numerics.fallback import with_fallback
from kdescent_dist.numerics.inline_linalg import written_out
from kdescent_dist.numerics.prng import unrolled
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.protocol import Objective


def evaluate(
    objective: Objective, params: jax.Array, key: jax.Array, data: Any, on_cpu: bool
) -> tuple[jax.Array, jax.Array]:
    """Loss and gradient (parameters,) of an objective.

    Args:
        objective: the objective.
        params: (parameters,) parameters.
        key: random key.
        data: the arrays of the objective.
        on_cpu: whether to use the forms for CPUs, see ``numerics.fallback``.
    """

    def plain() -> tuple[jax.Array, jax.Array]:
        return objective.value_and_grad(params, key, data)

    if not on_cpu:
        return plain()
    written = _written_out(objective)
    return with_fallback(lambda: written.value_and_grad(params, unrolled(key), data), plain)


def _written_out(objective: Objective) -> Objective:
    # A population objective is left as it is, to keep its bits the same on any mesh.
    if isinstance(objective, LossObjective):
        return replace(objective, loss=written_out(objective.of_vector), parameters=None)
    return objective
