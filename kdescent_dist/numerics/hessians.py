"""Derivatives of a function that returns a loss and its gradient.

The derivative of the loss is the gradient, which is already there. The derivative of the gradient
is the Hessian. The Hessian is symmetric: a Hessian-vector product, computed in forward mode, serves
forward and reverse mode. Reverse mode never passes through a loop, so loops may have lengths that
are known at run time only.
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

# (*options, params (parameters,), data) -> loss, gradient (parameters,)
ValueAndGrad = Callable[..., tuple[jax.Array, jax.Array]]


def with_derivatives(function: ValueAndGrad, static: int) -> ValueAndGrad:
    """The same function, with derivatives of both results with respect to the parameters.

    Args:
        function: ``function(*options, params, data)``, where ``data`` is a pytree.
        static: the number of options. An option is hashable and not an array.

    Returns:
        The function. Derivatives with respect to ``data`` raise a TypeError, as do third
        derivatives of the loss in reverse mode.
    """
    wrapped = jax.custom_jvp(function, nondiff_argnums=tuple(range(static)))

    def rule(*given: Any) -> tuple[Any, Any]:
        *options, primals, tangents = given
        value, gradient = wrapped(*options, *primals)
        point, structure = jax.tree.flatten(primals)
        moved, *others = moving_tangents(jax.tree.leaves(tangents))
        if moved is None or any(other is not None for other in others):
            raise TypeError(
                "jax.jvp or jax.grad of a loss of sums in its data: differentiate in the "
                "parameters alone"
            )
        hessian = _Hessian(function, tuple(options), structure)
        (change,) = apply_linear(hessian, point, [moved], [gradient])
        return (value, gradient), (jnp.sum(gradient * moved), change)

    wrapped.defjvp(rule, symbolic_zeros=True)
    return wrapped


@dataclass(frozen=True)
class _Hessian:
    """The Hessian of a loss, as a linear map of parameters."""

    function: ValueAndGrad
    options: tuple[Any, ...]
    structure: Any

    @property
    def mesh(self) -> Mesh | None:
        return mesh_among(self.options)

    def forward(self, point: Arrays, tangents: Arrays) -> Arrays:
        return _product(self, [*point, *tangents])

    def backward(self, point: Arrays, cotangents: Arrays) -> Arrays:
        return _product(self, [*point, *cotangents])

    def product(self, arrays: Arrays) -> Arrays:
        """The Hessian-vector product; ``arrays`` are the point, then the vector."""

        def gradient(point: Arrays) -> Arrays:
            return [self.function(*self.options, *self.structure.unflatten(point))[1]]

        *point, vector = arrays
        return tangents_of(gradient, point, [vector] + [None] * (len(point) - 1))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _product(of: _Hessian, arrays: Arrays) -> Arrays:
    return of.product(arrays)


@partial(_product.defjvp, symbolic_zeros=True)
def _differentiate(of: _Hessian, primals: Any, tangents: Any) -> tuple[Arrays, Arrays]:
    (arrays,), moved = primals, moving_tangents(tangents[0])
    result = _product(of, arrays)
    third = _Third(of, tuple(tangent is not None for tangent in moved))
    given = [tangent for tangent in moved if tangent is not None]
    return result, apply_linear(third, arrays, given, result)


@dataclass(frozen=True)
class _Third:
    """The derivative of a Hessian-vector product, in forward mode only."""

    of: _Hessian
    moving: tuple[bool, ...]

    @property
    def mesh(self) -> Mesh | None:
        return self.of.mesh

    def forward(self, point: Arrays, tangents: Arrays) -> Arrays:
        given = iter(tangents)
        moved = [next(given) if moves else None for moves in self.moving]
        return tangents_of(self.of.product, point, moved)

    def backward(self, point: Arrays, cotangents: Arrays) -> Arrays:
        raise TypeError(
            "jax.grad, jax.vjp or jax.jacrev of second derivatives of a loss of sums: take the "
            "third derivative in forward mode, by jax.jacfwd or jax.jvp"
        )
