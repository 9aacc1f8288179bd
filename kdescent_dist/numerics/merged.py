"""Programs that compute nothing twice, so that XLA compiles one device like several.

XLA merges equal operations early in a program for several devices, and late in a program for one
device. In between, XLA simplifies operations by how often their results are used, and moves
operations out of loops. So one program would get two forms, with other last bits. A program in
which nothing is left to merge or to move gets one form.

``merged`` traces a function. Each operation is then done once. What does not change in a loop is
done before the loop. The calls of functions disappear, as XLA merges operations across calls. So
nothing may be differentiated any more: a derivative that a function defines disappears with its
call.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from jax.extend import core
from jax.extend.core.primitives import broadcast_in_dim_p, squeeze_p

from kdescent_dist.numerics.equations import Atom, Equations, shape_of
from kdescent_dist.numerics.rewriting import rebuilt, rewritten

# Equations that call one program once, and the parameter that holds the program.
_CALLS = {
    **dict.fromkeys(("jit", "pjit", "remat", "remat2", "checkpoint"), "jaxpr"),
    **dict.fromkeys(("closed_call", "core_call", "custom_jvp_call"), "call_jaxpr"),
    **dict.fromkeys(("custom_vjp_call", "custom_vjp_call_jaxpr"), "call_jaxpr"),
}
# Programs of a loop, and the number of their inputs that do not change.
_LOOPS = {
    "scan": (("jaxpr", "num_consts"),),
    "while": (("cond_jaxpr", "cond_nconsts"), ("body_jaxpr", "body_nconsts")),
}
# Equations of operands of one shape; XLA broadcasts smaller operands for each equation.
_ELEMENTWISE = frozenset(
    (
        *("add", "sub", "mul", "div", "rem", "max", "min", "pow", "atan2", "nextafter"),
        *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor"),
        *("shift_left", "shift_right_logical", "shift_right_arithmetic"),
    )
)


def merged(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of pytrees of arrays, with each operation done once."""
    return rewritten(function, lambda traced: _closed(traced)[0])


def _closed(program: core.ClosedJaxpr) -> tuple[core.ClosedJaxpr, Hashable]:
    into = Equations()
    inputs = [into.input(variable) for variable in program.jaxpr.invars]
    return _with_constants(program, into, inputs, inputs)


def _open(program: core.Jaxpr) -> tuple[core.Jaxpr, Hashable]:
    into = Equations(closed=False)
    inputs = [into.input(variable) for variable in program.invars]
    consts = [into.input(variable) for variable in program.constvars]
    whole, form = _whole(program, into, inputs, inputs, consts)
    return whole.replace(constvars=consts), form


def _body(
    program: core.ClosedJaxpr, around: Equations, consts: Sequence[Atom]
) -> tuple[core.ClosedJaxpr, list[core.Var], Hashable]:
    """A program of a loop, whose first inputs do not change; what is computed before it; its form.

    The variables for what is computed before the loop follow the inputs that do not change.
    """
    into = Equations(around=around)
    unchanged = [*consts, *[None] * (len(program.jaxpr.invars) - len(consts))]
    variables = zip(program.jaxpr.invars, unchanged, strict=True)
    inputs = [into.input(variable, of) for variable, of in variables]
    names = [around.name(atom) for atom in consts]
    # One variable for the inputs that have the same value.
    known = [*(inputs[names.index(name)] for name in names), *inputs[len(names) :]]
    whole, form = _with_constants(program, into, inputs, known, len(names))
    return whole, list(into.moved.values()), form


def _with_constants(
    program: core.ClosedJaxpr,
    into: Equations,
    inputs: Sequence[core.Var],
    known: Sequence[core.Var],
    place: int = 0,
) -> tuple[core.ClosedJaxpr, Hashable]:
    """A closed program and its form; arguments as of ``_whole``."""
    consts = into.constants(program)
    whole, form = _whole(program.jaxpr, into, inputs, known, consts, place)
    values = list(into.consts.values())
    whole = whole.replace(constvars=list(into.consts))
    return core.ClosedJaxpr(whole, values), (form, tuple(map(id, values)))


def _whole(
    program: core.Jaxpr,
    into: Equations,
    inputs: Sequence[core.Var],
    known: Sequence[core.Var],
    consts: Sequence[core.Var],
    place: int = 0,
) -> tuple[core.Jaxpr, Hashable]:
    """A program, but for the variables of its constants, and its form.

    Args:
        program: the program.
        into: nothing but its inputs and constants.
        inputs: inputs of the new program.
        known: for each input, an input of the same value.
        consts: variables for the constants of the program.
        place: position, among the inputs, of what is computed before a loop.
    """
    results = _add(program, known, consts, into)
    into.drop_unused(results)
    invars = [*inputs[:place], *into.moved, *inputs[place:]]
    whole = program.replace(invars=invars, outvars=results, eqns=into.equations)
    types = tuple(str(variable.aval) for variable in (*consts, *invars))
    return whole, (types, into.form(results))


def _add(
    program: core.Jaxpr, inputs: Sequence[Atom], consts: Sequence[Atom], into: Equations
) -> list[Atom]:
    """Add the equations of a program; return its results."""
    known: dict[core.Var, Atom] = dict(zip(program.invars, inputs, strict=True))
    known.update(zip(program.constvars, consts, strict=True))

    def read(atom: Atom) -> Atom:
        return atom if isinstance(atom, core.Literal) else known[atom]

    for equation in program.eqns:
        results = _equation(equation, [read(atom) for atom in equation.invars], into)
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in program.outvars]


def _equation(equation: core.JaxprEqn, inputs: list[Atom], into: Equations) -> Sequence[Atom]:
    """Add an equation; return its results."""
    name, params = equation.primitive.name, dict(equation.params)
    if name == "stop_gradient":
        return inputs
    if name in _CALLS and not _placed(params):
        inner = params[_CALLS[name]]
        if isinstance(inner, core.Jaxpr):
            return _add(inner, inputs, (), into)
        if into.takes(inner):
            return _add(inner.jaxpr, inputs, into.constants(inner), into)
    if name == "scan" and params["length"] == 1 and into.takes(params["jaxpr"]):
        return _single(equation, inputs, into)
    if name in _ELEMENTWISE:
        shape = shape_of(equation.outvars[0])
        inputs = [_spread(atom, shape, equation, into) for atom in inputs]
    forms: dict[str, Hashable] = {}
    if name in _LOOPS:
        given: list[Atom] = []
        for key, count in _LOOPS[name]:
            consts, inputs = inputs[: params[count]], inputs[params[count] :]
            params[key], moved, forms[key] = _body(params[key], into, consts)
            given += [*consts, *moved]
            params[count] += len(moved)
        inputs = given + inputs
    for key in params.keys() - forms.keys():
        params[key], forms[key] = _param(params[key])
    ordered = [(key, forms[key]) for key in sorted(forms)]
    return into.once(equation.replace(invars=inputs, params=params), ordered)


def _single(equation: core.JaxprEqn, inputs: list[Atom], into: Equations) -> list[Atom]:
    """The results of a loop that runs once, without the loop."""
    program, carried = equation.params["jaxpr"], equation.params["num_carry"]
    first = equation.params["num_consts"] + carried
    rows = [
        _simple(squeeze_p, atom, shape_of(atom)[1:], {"dimensions": (0,)}, equation, into)
        for atom in inputs[first:]
    ]
    results = _add(program.jaxpr, [*inputs[:first], *rows], into.constants(program), into)
    tables = [_broadcast(row, (1, *shape_of(row)), equation, into) for row in results[carried:]]
    return [*results[:carried], *tables]


def _spread(atom: Atom, shape: tuple[int, ...], of: core.JaxprEqn, into: Equations) -> Atom:
    """An operand with the shape of the result."""
    return atom if shape_of(atom) == shape else _broadcast(atom, shape, of, into)


def _broadcast(atom: Atom, shape: tuple[int, ...], of: core.JaxprEqn, into: Equations) -> Atom:
    """An array with new dimensions before its own."""
    own = tuple(range(len(shape) - len(shape_of(atom)), len(shape)))
    params = {"broadcast_dimensions": own, "shape": shape, "sharding": None}
    return _simple(broadcast_in_dim_p, atom, shape, params, of, into)


def _simple(
    primitive: core.Primitive,
    atom: Atom,
    shape: tuple[int, ...],
    params: dict[str, Any],
    of: core.JaxprEqn,
    into: Equations,
) -> Atom:
    """An array of the type of an atom, made from it for the equation ``of``."""
    array: Any = atom.aval
    result = [core.Var(array.update(shape=shape))]
    made = core.new_jaxpr_eqn(*([atom], result, primitive, params, core.no_effects), of.source_info)
    return into.once(made, [(key, params[key]) for key in sorted(params)])[0]


def _param(value: Any) -> tuple[Any, Hashable]:
    """A parameter of an equation, with the programs in it merged, and what tells it from others."""
    if isinstance(value, core.ClosedJaxpr):
        return _closed(value)
    if isinstance(value, core.Jaxpr):
        return _open(value)
    if isinstance(value, tuple | list):
        items = [_param(item) for item in value]
        new, forms = [item for item, _ in items], tuple(form for _, form in items)
        return rebuilt(value, new), (type(value), forms)
    if isinstance(value, float | np.generic | np.ndarray):  # 0.0 is not -0.0
        array = np.asarray(value)
        return value, (array.shape, str(array.dtype), array.tobytes())
    try:
        hash(value)
    except TypeError:
        return value, id(value)
    return value, (type(value), value)


def _placed(params: dict[str, Any]) -> bool:
    """Whether a call says where its arrays are, which must stay."""
    shardings = (*params.get("in_shardings", ()), *params.get("out_shardings", ()))
    return any(type(one).__name__ != "UnspecifiedValue" for one in shardings)
