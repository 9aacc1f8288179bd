"""Faster small matrices in a user's loss, for fits on CPUs.

A model of correlated columns factors a covariance of few columns, often one covariance per sample,
and multiplies a table of samples by the factor. In XLA, both operations and their gradients take
several times as long as the counts of the model. ``written_out`` traces the loss and replaces such
operations.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from kdescent_dist.numerics.differentiable import differentiable
from kdescent_dist.numerics.reductions import materialize
from kdescent_dist.numerics.small_matrices import cholesky, column_sums, repeated, table_product

SMALL = 4  # most columns of a matrix or a table that is replaced
MANY = 64  # fewest rows of a table


def written_out(loss: Callable) -> Callable:
    """The same loss, to rounding, with its small matrices written out.

    Operations are replaced in the loss itself and in functions inside ``jax.jit``, but not in
    loops, branches and custom derivatives.

    Args:
        loss: a traceable ``loss(params, **options)``; the option ``randkey`` is the key of its
            random numbers.
    """

    def call(params: jax.Array, **options: Any) -> Any:
        traced, shape = jax.make_jaxpr(lambda params: loss(params, **options), return_shape=True)(
            params
        )
        one = _one(options["randkey"]) if "randkey" in options else None
        results = _run(traced.jaxpr, traced.consts, [params], one)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return call


def _run(jaxpr: core.Jaxpr, consts: Any, args: Any, one: jax.Array | None) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        if equation.primitive.name == "jit":
            inner = equation.params["jaxpr"]
            results = _run(inner.jaxpr, inner.consts, inputs, one)
        elif replacement := _replacement(equation, one):
            results = [replacement(*inputs)]
        else:
            with equation.ctx.manager:
                params = equation.primitive.get_bind_params(equation.params)
                results = equation.primitive.bind(*inputs, **params)
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _replacement(equation: core.JaxprEqn, one: jax.Array | None) -> Callable | None:
    """The function that replaces an equation, None to keep the equation."""
    inputs: list[Any] = [atom.aval for atom in equation.invars]
    results: list[Any] = [atom.aval for atom in equation.outvars]
    if len({array.dtype for array in (*inputs, *results)}) > 1 or len(results) != 1:
        return None
    (result,) = results
    if not jnp.issubdtype(result.dtype, jnp.floating):
        return None
    params = equation.params
    match equation.primitive.name:
        case "cholesky" if result.shape[-1] <= SMALL:
            return cholesky
        case "dot_general" if _is_table(result) and _is_table(inputs[0]):
            contracted, batched = params["dimension_numbers"]
            if batched == ((), ()) and contracted[0] == (1,):
                return partial(_product, one, contracted[1][0])
        case "add" | "sub" | "mul" | "div" if _is_table(result):
            if (1, result.shape[1]) in [array.shape for array in inputs]:
                return partial(_with_row, partial(equation.primitive.bind, **params), *result.shape)
        case "reduce_sum" if params["axes"] == (0,) and _is_table(inputs[0]):
            return column_sums
    return None


def _is_table(array: Any) -> bool:
    return array.ndim == 2 and array.shape[0] >= MANY and array.shape[1] <= SMALL


def _product(one: jax.Array | None, contracted: int, table: jax.Array, matrix: jax.Array):
    return table_product(_materialized(table, one), matrix if contracted == 0 else matrix.T)


def _with_row(operation: Callable, rows: int, columns: int, *inputs: jax.Array) -> jax.Array:
    row = (1, columns)
    return operation(*(repeated(rows, a[0]) if a.shape == row else a for a in inputs))


def _written(table: jax.Array, one: jax.Array | None) -> jax.Array:
    return table if one is None else materialize(table, one)


# Derivatives skip the copy: the copy is the identity, and its loop has no reverse mode.
_materialized = differentiable(
    _written, lambda _, cotangent: (cotangent, None), lambda table, one: table
)


def _one(key: jax.Array) -> jax.Array:
    """The number 1, computed from the key so that XLA cannot know it at compile time."""
    (word, *_) = jnp.ravel(jax.random.key_data(key))
    return jnp.minimum(lax.clz(word) + word, 1).astype(jnp.int32)
