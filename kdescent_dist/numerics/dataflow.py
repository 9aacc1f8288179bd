"""Which results of a traced function depend on which of its arguments."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def depends_on(function: Callable, arguments: tuple[Any, ...], which: tuple[int, ...]) -> Any:
    """Tell which results of ``function(*arguments)`` depend on some of the arguments.

    In doubt, a result counts as dependent: all results of a loop or a branch count as dependent if
    any input of the loop or the branch does.

    Args:
        function: a traceable function.
        arguments: its arguments, or ``jax.ShapeDtypeStruct`` in their place.
        which: positions of the arguments in question.

    Returns:
        The pytree of the results, with a bool for each array.
    """
    traced, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    given = [i in which for i, argument in enumerate(arguments) for _ in jax.tree.leaves(argument)]
    flags = dependent(traced.jaxpr, given)
    return jax.tree.unflatten(jax.tree.structure(shape), flags)


def dependent(jaxpr: Jaxpr, given: list[bool]) -> list[bool]:
    """Tell which results of a traced function depend on some of its arguments.

    Args:
        jaxpr: the traced function.
        given: for each argument, whether it is one of those in question.
    """
    reached = {var for var, flag in zip(jaxpr.invars, given, strict=True) if flag}

    def flag(atom: Any) -> bool:
        return not isinstance(atom, Literal) and atom in reached

    for equation in jaxpr.eqns:
        flags = [flag(atom) for atom in equation.invars]
        inner = equation.params.get("jaxpr")
        if equation.primitive.name in ("jit", "pjit") and isinstance(inner, ClosedJaxpr):
            results = dependent(inner.jaxpr, flags)
        else:
            results = [any(flags)] * len(equation.outvars)
        reached |= {var for var, is_ in zip(equation.outvars, results, strict=True) if is_}
    return [flag(atom) for atom in jaxpr.outvars]
