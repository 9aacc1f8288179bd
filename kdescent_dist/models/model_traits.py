"""What a model does with its key and its parameters, found by tracing it before a fit.

Nothing is compiled, unless two tracings of the model differ or the model calls back into Python.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from kdescent_dist.config.errors import InputError
from kdescent_dist.numerics.dataflow import dependent

CALLBACKS = ("pure_callback", "io_callback")

# Tree of parameters, key, block of the input catalog -> columns by name, and weights.
Making = Callable[[Any, jax.Array, Any], tuple[dict[str, jax.Array], jax.Array]]


def uncached(model: Callable) -> Callable:
    """A model without its own ``jax.jit``, so that each tracing calls its code."""
    if isinstance(model, partial):
        return partial(uncached(model.func), *model.args, **model.keywords)
    is_compiled = hasattr(model, "lower") and hasattr(model, "__wrapped__")
    return model.__wrapped__ if is_compiled else model


def check_key(making: Making, arguments: tuple[Any, ...]) -> bool:
    """Check that a population follows from parameters and key; tell whether it depends on the key.

    Args:
        making: makes the population.
        arguments: tree of parameters, key and block of the input catalog.

    Raises:
        InputError: two populations of the same parameters and key differ.
    """
    # Another function at each tracing: JAX keeps what it has traced.
    first, second = (jax.make_jaxpr(lambda *given: making(*given))(*arguments) for _ in range(2))
    values = jax.tree.leaves(arguments)
    if not _same(list(_constants(first)), list(_constants(second))):
        populations = [jax.jit(jaxpr_as_fun(one))(*values) for one in (first, second)]
        if not _same(*populations):
            raise InputError(
                "model: its random numbers do not follow from key: they are drawn when the model "
                "is traced, as by numpy.random or random, so that all steps have the same ones, "
                "and the next run has others: draw them by jax.random with key"
            )
    if any(name in CALLBACKS for name in _primitives(first.jaxpr)):
        compiled = jax.jit(jaxpr_as_fun(first))
        if not _same(compiled(*values), compiled(*values)):
            raise InputError(
                "model: two populations of the same parameters and key differ: it calls back into "
                "Python, where other random numbers are drawn: draw them by jax.random with key"
            )
    return any(_of_argument(first.jaxpr, arguments, 1))


def without_gradient(
    making: Making, arguments: tuple[Any, ...], numbers: Any, names: Sequence[str]
) -> list[str]:
    """Parameters that change the population in steps only, so that no gradient can move them.

    Args:
        making: makes the population, with all values in floating point.
        arguments: tree of parameters, key and block of the input catalog.
        numbers: the tree with the numbers of the parameters in place of their values.
        names: names of the parameters.
    """
    tree, *others = arguments
    leaves, structure = jax.tree.flatten(tree)
    traced, shape = jax.make_jaxpr(lambda *given: making(*given), return_shape=True)(*arguments)

    def slopes(leaves: Any, others: Any, cotangent: Any) -> Any:
        def made(leaves: Any) -> Any:
            return making(jax.tree.unflatten(structure, leaves), *others)

        return jax.vjp(made, leaves)[1](cotangent)[0]

    backward = jax.make_jaxpr(slopes)(leaves, others, shape)
    moved = _of_argument(backward.jaxpr, (leaves, others, shape), 2)
    given = [jax.tree.leaves(one) for one in arguments]
    found = []
    for i, leaf in enumerate(jax.tree.leaves(numbers)):
        flags = [i == j for j in range(sum(map(len, given)))]
        if not moved[i] and any(dependent(traced.jaxpr, flags)):
            found += [names[int(number)] for number in np.ravel(leaf)]
    return found


def drawn_in_loops(making: Making, arguments: tuple[Any, ...]) -> set[str]:
    """Columns that may be drawn in a loop of all rows, such as by ``jax.random.binomial``.

    There a row may get other random numbers where other rows need more of them, which does no harm.

    Args:
        making: makes the population.
        arguments: tree of parameters, key and block of the input catalog.
    """
    traced, shape = jax.make_jaxpr(making, return_shape=True)(*arguments)
    if "while" not in _primitives(traced.jaxpr):
        return set()
    flags = _of_argument(traced.jaxpr, arguments, 1)
    columns, weights = jax.tree.unflatten(jax.tree.structure(shape), flags)
    return {name for name, flag in (columns | {"weights": weights}).items() if flag}


def _of_argument(jaxpr: Jaxpr, arguments: tuple[Any, ...], which: int) -> list[bool]:
    given = [i == which for i, one in enumerate(arguments) for _ in jax.tree.leaves(one)]
    return dependent(jaxpr, given)


def _inner(jaxpr: Jaxpr) -> Iterator[ClosedJaxpr | Jaxpr]:
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            for one in value if isinstance(value, tuple | list) else (value,):
                if isinstance(one, ClosedJaxpr | Jaxpr):
                    yield one


def _constants(traced: ClosedJaxpr | Jaxpr) -> Iterator[Any]:
    """All numbers that tracing has frozen."""
    if isinstance(traced, ClosedJaxpr):
        yield from traced.consts
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    for atoms in (*(equation.invars for equation in jaxpr.eqns), jaxpr.outvars):
        yield from (atom.val for atom in atoms if isinstance(atom, Literal))
    for inner in _inner(jaxpr):
        yield from _constants(inner)


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    yield from (equation.primitive.name for equation in jaxpr.eqns)
    for inner in _inner(jaxpr):
        yield from _primitives(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def _same(one: Collection[Any], other: Collection[Any]) -> bool:
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(np.array_equal(_bits(a), _bits(b)) for a, b in pairs)


def _bits(value: Any) -> np.ndarray:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return np.frombuffer(array.tobytes(), np.uint8)
