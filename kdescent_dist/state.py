"""The state of a fit: everything that a resume needs, in one immutable pytree."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdescent_dist.mesh import replicated


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FitState:
    """State after ``step`` updates.

    Attributes:
        step: number of updates, int32.
        params: (parameters,) unbounded parameters.
        opt_state: state of the optax optimizer.
        key: random key of the fit.
    """

    step: Any
    params: Any
    opt_state: Any
    key: Any


def init_state(
    params: jax.Array,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    mesh: jax.sharding.Mesh | None,
) -> FitState:
    """The state before the first update, whole on each device of the mesh.

    It is made under jit, so that in several processes every leaf is a global array.
    """
    # Only a host copy of the key's bits can be handed to a mesh that it does not live on.
    key_bits, implementation = np.asarray(jax.random.key_data(key)), jax.random.key_impl(key)

    def init(params: jax.Array) -> FitState:
        key = jax.random.wrap_key_data(jnp.asarray(key_bits), impl=implementation)
        return FitState(jnp.int32(0), params, optimizer.init(params), key)

    sharding = None if mesh is None else replicated(mesh)
    return jax.jit(init, out_shardings=sharding)(np.asarray(params))


@dataclass(frozen=True)
class History:
    """Trial parameters and losses of each step so far, in host memory.

    Attributes:
        params: (steps, parameters) bounded parameters at which the loss was taken.
        loss: (steps,) losses.
        grad_norm: (steps,) norms of the gradient with respect to the unbounded parameters.
    """

    params: np.ndarray
    loss: np.ndarray
    grad_norm: np.ndarray

    @classmethod
    def empty(cls, size: int, dtype: Any) -> "History":
        return cls(np.zeros((0, size), dtype), np.zeros(0, dtype), np.zeros(0, dtype))

    def __len__(self) -> int:
        return len(self.loss)

    def join(self, other: "History") -> "History":
        return History(
            np.concatenate([self.params, other.params]),
            np.concatenate([self.loss, other.loss]),
            np.concatenate([self.grad_norm, other.grad_norm]),
        )

    def until(self, step: int) -> "History":
        return History(self.params[:step], self.loss[:step], self.grad_norm[:step])

    def arrays(self) -> dict[str, np.ndarray]:
        return {"params": self.params, "loss": self.loss, "grad_norm": self.grad_norm}
