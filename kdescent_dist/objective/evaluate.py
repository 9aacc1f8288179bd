"""The loss and its gradient, or the loss alone, at one place."""

import logging
from dataclasses import replace
from typing import Any

import jax

from kdescent_dist.numerics.inline_linalg import written_out
from kdescent_dist.numerics.prng import unrolled
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.protocol import Objective

log = logging.getLogger(__name__)


def evaluate(
    objective: Objective, params: jax.Array, key: jax.Array, data: Any, on_cpu: bool
) -> tuple[jax.Array, jax.Array]:
    """Loss and gradient (parameters,) of an objective, with what is faster on CPUs."""
    if on_cpu:
        try:
            return _on_cpu(objective).value_and_grad(params, unrolled(key), data)
        except Exception as error:
            # Some of ``jax.random``, a key that is mixed with others, or a loss that asks for the
            # kind of its key need JAX's own, and fail in as many ways. An error of the loss itself
            # comes back below, with nothing of this attempt in its traceback.
            log.debug("The loss is compiled as it is, as the faster way failed: %r", error)
    return objective.value_and_grad(params, key, data)


def _on_cpu(objective: Objective) -> Objective:
    # The objective of a population keeps its bits on any mesh with its matrices as they are.
    if isinstance(objective, LossObjective):
        return replace(objective, loss=written_out(objective.loss))
    return objective
