"""Programs for GPUs without calls of libraries for linear algebra of small matrices.

On GPUs, XLA factors each small matrix in a library call, which takes ten times as long as a kernel
and keeps the calls around it out of a CUDA graph. ``without_library_calls`` traces a function and
replaces Cholesky factors, LU factors and triangular solves of small matrices by elementwise
operations, wherever they are: in the counts, in a model of a user, in loops and branches. Nothing
may be differentiated any more: the replacements have no derivative.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import mlir

from kdescent_dist.numerics import small_solves
from kdescent_dist.numerics.rewriting import rebuilt, rewritten
from kdescent_dist.numerics.small_matrices import cholesky

MOST_COLUMNS = 10  # of a matrix that is written out; the operations grow as the cube


def without_library_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, to rounding, with its small matrices written out.

    The function takes and returns pytrees of arrays. Matrices of complex numbers stay as they are,
    and so do other decompositions, such as eigenvalues.
    """

    return rewritten(function, _closed)


def _closed(program: core.ClosedJaxpr) -> core.ClosedJaxpr:
    written = _written(program.jaxpr)
    return program if written is program.jaxpr else core.ClosedJaxpr(written, program.consts)


def _written(program: core.Jaxpr) -> core.Jaxpr:
    """The program with replaced equations; the same object if there are none."""
    equations = [_equation(equation) for equation in program.eqns]
    same = all(new is old for new, old in zip(equations, program.eqns, strict=True))
    return program if same else program.replace(eqns=equations)


def _equation(equation: core.JaxprEqn) -> core.JaxprEqn:
    if form := _form(equation):
        types = tuple(result.aval for result in equation.outvars)
        return equation.replace(primitive=_form_p, params={"form": form, "types": types})
    params = {name: _param(value) for name, value in equation.params.items()}
    same = all(params[name] is value for name, value in equation.params.items())
    return equation if same else equation.replace(params=params)


def _param(value: Any) -> Any:
    """A parameter of an equation, with the programs in it written out."""
    if isinstance(value, core.ClosedJaxpr):
        return _closed(value)
    if isinstance(value, core.Jaxpr):
        return _written(value)
    if isinstance(value, tuple | list):
        items = [_param(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return rebuilt(value, items)
    return value


def _form(equation: core.JaxprEqn) -> Callable[..., Any] | None:
    """The function that takes the place of an equation, None to keep the equation."""
    name, params = equation.primitive.name, dict(equation.params)
    if name not in ("cholesky", "lu", "triangular_solve"):
        return None
    matrix: Any = equation.invars[0].aval
    rows, columns = matrix.shape[-2:]
    if rows != columns or rows > MOST_COLUMNS or not jnp.issubdtype(matrix.dtype, jnp.floating):
        return None
    if name == "triangular_solve":
        del params["conjugate_a"]  # of real numbers
        return partial(small_solves.triangular_solve, **params)
    return cholesky if name == "cholesky" else small_solves.lu


def _evaluate(*arrays: jax.Array, form: Callable[..., Any], types: Sequence[Any]) -> list[Any]:
    results = form(*arrays)
    return list(results) if len(types) > 1 else [results]


# One equation takes the place of one equation; the operations appear when a program is lowered.
_form_p = core.Primitive("written_out")
_form_p.multiple_results = True
_form_p.def_impl(_evaluate)
_form_p.def_abstract_eval(lambda *_, form, types: list(types))
mlir.register_lowering(_form_p, mlir.lower_fun(_evaluate, multiple_results=True))
