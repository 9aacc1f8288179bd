"""The state of a fit: everything that a resume needs, in one immutable pytree."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdescent_dist.distributed.mesh import replicated, whole


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FitState:
    """State after ``step`` updates.

    Attributes:
        step: number of updates, int32.
        params: what the optimizer moves, see ``Coordinates``: all parameters that are not fixed.
        opt_state: state of the optax optimizer.
        key: random key of the fit.
    """

    step: Any
    params: Any
    opt_state: Any
    key: Any


def init_state(
    params: np.ndarray,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    mesh: jax.sharding.Mesh | None,
    moved: Callable[[jax.Array], jax.Array] = lambda params: params,
) -> FitState:
    """The state before the first update, whole on each device of the mesh.

    It is made under jit, so that in several processes every leaf is a global array, and in one
    program, as each operation on its own would be compiled.

    Args:
        params: (parameters,) guess.
        optimizer: an optax optimizer.
        key: random key of the fit.
        mesh: devices, by default the first one.
        moved: map from the parameters to what the optimizer moves.
    """
    # Only a host copy of the key's bits can be handed to a mesh that it does not live on.
    key_bits, implementation = np.asarray(jax.random.key_data(key)), jax.random.key_impl(key)

    def init(params: jax.Array, key_bits: jax.Array) -> FitState:
        key = jax.random.wrap_key_data(key_bits, impl=implementation)
        start = moved(params)
        return FitState(jnp.int32(0), start, optimizer.init(start), key)

    sharding = None if mesh is None else replicated(mesh)
    return jax.jit(init, out_shardings=sharding)(params, key_bits)


def to_host(state: FitState) -> FitState:
    """The state as NumPy arrays that this process holds alone, the bits of a key for the key."""
    return jax.tree.map(lambda leaf: np.asarray(_bits(leaf)), state)


def from_host(arrays: FitState, like: FitState) -> FitState:
    """The state that ``to_host`` took apart, on the devices of another one of the same kind."""

    def place(array: np.ndarray, leaf: jax.Array) -> jax.Array:
        mesh = getattr(leaf.sharding, "mesh", None)
        placed = jax.device_put(array, leaf.sharding) if mesh is None else whole(array, mesh)
        if _is_key(leaf):
            return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(leaf))
        return placed

    return jax.tree.map(place, arrays, like)


def _bits(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
