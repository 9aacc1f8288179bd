"""Functions with a hand-written reverse pass that all JAX transformations accept.

The reverse pass gives the first derivative in reverse mode. JAX takes all other derivatives of a
plain version of the function: forward mode, and higher derivatives in either mode.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from kdescent_dist.numerics.linear_maps import (
    Arrays,
    apply_linear,
    mesh_among,
    moving_tangents,
    tangents_of,
)


def differentiable(
    value: Callable[..., Any],
    pullback: Callable[..., tuple[Any, ...]],
    plain: Callable[..., Any] | None = None,
    static: int = 0,
) -> Callable[..., Any]:
    """Combine a function and its reverse pass.

    Args:
        value: ``value(*options, *arguments)``, the function itself.
        pullback: ``pullback(*options, arguments, cotangent)``, a tuple with the gradient with
            respect to each argument, None for a gradient of 0.
        plain: the same function in operations that JAX differentiates in both modes; by default
            ``value``.
        static: the number of options. An option is hashable and not an array.

    Returns:
        The function, called like ``value``. Its arguments and its results are pytrees of arrays.
    """
    function = jax.custom_jvp(value, nondiff_argnums=tuple(range(static)))

    def rule(*given: Any) -> tuple[Any, Any]:
        *options, primals, tangents = given
        result = function(*options, *primals)
        point, structure = jax.tree.flatten(primals)
        moved = moving_tangents(jax.tree.leaves(tangents))
        results, result_structure = jax.tree.flatten(result)
        derivative = _Derivative(
            plain or value,
            pullback,
            tuple(options),
            structure,
            result_structure,
            tuple(tangent is not None for tangent in moved),
        )
        changes = apply_linear(derivative, point, [t for t in moved if t is not None], results)
        return result, result_structure.unflatten(changes)

    function.defjvp(rule, symbolic_zeros=True)
    return function


@dataclass(frozen=True)
class _Derivative:
    """The derivative of a function of ``differentiable``, as a linear map.

    Attributes:
        structure, result_structure: pytree structures of the tuple of arguments and of the result.
        moving: for each array of the arguments, whether the array has a tangent.
    """

    plain: Callable[..., Any]
    pullback: Callable[..., tuple[Any, ...]]
    options: tuple[Any, ...]
    structure: Any
    result_structure: Any
    moving: tuple[bool, ...]

    @property
    def mesh(self) -> Mesh | None:
        return mesh_among(self.options)

    def forward(self, point: Arrays, tangents: Arrays) -> Arrays:
        given = iter(tangents)
        return tangents_of(self._plain, point, [next(given) if m else None for m in self.moving])

    def backward(self, point: Arrays, cotangents: Arrays) -> Arrays:
        return _pulled_back(self, point, cotangents)

    def by_hand(self, point: Arrays, cotangents: Arrays) -> Arrays:
        arguments = self.structure.unflatten(point)
        cotangent = self.result_structure.unflatten(cotangents)
        gradients = self.pullback(*self.options, arguments, cotangent)
        each = _leaves(jax.tree.broadcast(gradients, arguments, is_leaf=lambda g: g is None))
        return [
            jnp.zeros_like(array) if gradient is None else gradient
            for array, gradient, moves in zip(point, each, self.moving, strict=True)
            if moves
        ]

    def by_plain(self, point: Arrays, cotangents: Arrays) -> Arrays:
        moving = [i for i, moves in enumerate(self.moving) if moves]

        def plain(*moved: jax.Array) -> Arrays:
            filled = dict(enumerate(point)) | dict(zip(moving, moved, strict=True))
            return self._plain(list(filled.values()))

        return list(jax.vjp(plain, *(point[i] for i in moving))[1](cotangents))

    def _plain(self, point: Arrays) -> Arrays:
        return jax.tree.leaves(self.plain(*self.options, *self.structure.unflatten(point)))


def _leaves(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pulled_back(of: _Derivative, point: Arrays, cotangents: Arrays) -> Arrays:
    return of.by_hand(point, cotangents)


@partial(_pulled_back.defjvp, symbolic_zeros=True)
def _differentiate(of: _Derivative, primals: Any, tangents: Any) -> tuple[Arrays, Arrays]:
    size = len(primals[0])

    def by_plain(arrays: Arrays) -> Arrays:
        return of.by_plain(arrays[:size], arrays[size:])

    changes = tangents_of(
        by_plain, jax.tree.leaves(primals), moving_tangents(jax.tree.leaves(tangents))
    )
    return _pulled_back(of, *primals), changes
