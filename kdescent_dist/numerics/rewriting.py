"""What all rewriting of traced programs shares."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def rewritten(
    function: Callable[..., Any], rewrite: Callable[[core.ClosedJaxpr], core.ClosedJaxpr]
) -> Callable[..., Any]:
    """A function of pytrees of arrays, whose program is traced and rewritten."""

    def call(*arguments: Any) -> Any:
        traced, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results = core.jaxpr_as_fun(rewrite(traced))(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return call


def rebuilt(value: tuple | list, items: list[Any]) -> Any:
    """A tuple, named tuple or list like ``value``, of other items."""
    make: Any = type(value)
    return make(*items) if hasattr(value, "_fields") else make(items)
