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
        params: variables of the optimizer, one per free parameter, see ``Coordinates``.
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
    compiled: Callable[[Callable[[], Any]], Any] = lambda make: make(),
) -> FitState:
    """The state before the first update, replicated on the devices of the mesh.

    The state is created by one jitted function: with several processes, every leaf is then a
    global array, and the operations are compiled together instead of one by one.

    Args:
        params: (parameters,) guess.
        optimizer: an optax optimizer.
        key: random key of the fit.
        mesh: devices, by default the first device.
        moved: map from the parameters to the variables of the optimizer.
        compiled: ``compiled(make)`` returns the program of an earlier call with the same optimizer,
            map, mesh and type of key, or that of ``make``.
    """
    # A key on other devices than the mesh must be passed as a host copy of its bits.
    key_bits, implementation = np.asarray(jax.random.key_data(key)), jax.random.key_impl(key)

    def init(params: jax.Array, key_bits: jax.Array) -> FitState:
        key = jax.random.wrap_key_data(key_bits, impl=implementation)
        start = moved(params)
        return FitState(jnp.int32(0), start, optimizer.init(start), key)

    sharding = None if mesh is None else replicated(mesh)
    program = compiled(lambda: jax.jit(init, out_shardings=sharding))
    return program(params, key_bits)


def to_host(state: FitState) -> FitState:
    """The state as NumPy arrays, with the bits of the key in place of the key."""
    return jax.tree.map(lambda leaf: np.asarray(_bits(leaf)), state)


def from_host(arrays: FitState, like: FitState) -> FitState:
    """The inverse of ``to_host``, on the devices of the state ``like``."""

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
