"""Expressions of catalog columns, as they are written in a config: ``mag_g - mag_r``.

An expression may use numbers, ``pi``, columns, arithmetic, comparisons (also chained), ``and``,
``or`` and ``not`` (element by element), ``&``, ``|`` and ``~`` (of booleans, or of the bits of
integer flags), an entry of a vector column (``FLUX[3]``) and the functions of ``FUNCTIONS``;
nothing else, but that a column of text may be compared with a text: ``TYPE == 'GALAXY'``. A column
whose name is not a Python identifier is written in backquotes: `` `phot/mag g` - 0.1``.
"""

import ast
import operator
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from asteval import Interpreter

from kdescent_dist.errors import InputError, closest

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "log10": np.log10,
    "log": np.log,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arctan2": np.arctan2,
    "abs": np.abs,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "where": np.where,
    "isfinite": np.isfinite,
}
ARGUMENTS = {"arctan2": 2, "minimum": 2, "maximum": 2, "where": 3}  # one, where not listed
CONSTANTS = {"pi": np.pi}
TEXT = "SUO"  # kinds of types

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.UAdd, ast.USub, ast.Not, ast.Invert, ast.BitAnd, ast.BitOr, ast.And, ast.Or),
    *_COMPARISONS,
)
_STRUCTURE = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Load)


def names_in(expression: str, key: str = "expression") -> set[str]:
    """The columns that an expression uses.

    Raises:
        InputError: the expression is not understood; names ``key``.
    """
    return {name for name, _ in entries_in(expression, key)}


def entries_in(expression: str, key: str = "expression") -> set[tuple[str, int | None]]:
    """The columns that an expression uses, each with the entry of a vector column or None.

    Raises:
        InputError: the expression is not understood; names ``key``.
    """
    tree, quoted = _parse(expression, key)
    nodes = list(_walk(tree.body))
    entries = {n.value: _entry(n) for n in nodes if isinstance(n, ast.Subscript)}
    symbols = [n for n in nodes if isinstance(n, ast.Name) and n.id not in CONSTANTS]
    return {(quoted.get(n.id, n.id), entries.get(n)) for n in symbols}


def plain_column(expression: str) -> str | None:
    """The column that is the whole of a valid expression, or None."""
    tree, quoted = _parse(expression, "expression")
    if not isinstance(tree.body, ast.Name) or tree.body.id in CONSTANTS:
        return None
    return quoted.get(tree.body.id, tree.body.id)


def quote(name: str) -> str:
    """An expression that is the column of this name, whatever the name."""
    return f"`{name}`"


Converted = Callable[[str, np.ndarray, Any], np.ndarray]


def _converted(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    return values.astype(dtype)


def evaluate(
    expression: str,
    columns: Mapping[str, np.ndarray],
    key: str = "expression",
    converted: Converted = _converted,
) -> np.ndarray:
    """Evaluate an expression row by row, in double precision.

    Undefined values, such as the logarithm of a negative number, quietly become NaN.

    Args:
        expression: what to compute.
        columns: columns by name, of shape (n,) or, for a vector column, (n, m).
        key: the config key that the expression comes from, for messages.
        converted: makes an array of another type of a column, given with its name; by default it
            is new.

    Returns:
        (n,) values, or a 0-d array where the expression uses no column.

    Raises:
        InputError: the expression is not understood, uses an unknown column or gives vectors.
    """
    tree, quoted = _parse(expression, key)
    table: dict[str, Any] = dict(CONSTANTS)
    nodes = list(_walk(tree.body))
    symbols = {n.id for n in nodes if isinstance(n, ast.Name)}
    compared = [_compared_with_text(n) for n in nodes]
    texts = {column.id for found in compared if found is not None for column in found[:1]}
    for symbol in sorted(symbols - table.keys()):
        name = quoted.get(symbol, symbol)
        if name not in columns:
            raise InputError(
                f"{key}: no column {name!r} for {expression!r}: {closest(name, columns)}"
            )
        what, values = f"{key}: column {name!r}", np.asarray(columns[name])
        if symbol in texts and values.dtype.kind in TEXT and values.ndim == 1:
            table[symbol] = values
            continue
        check_numeric(values, what)
        if symbol in texts:
            raise InputError(f"{what} holds numbers: compare it with a number in {expression!r}")
        # Of a vector column, only the entries that are asked for are widened.
        table[symbol] = _wide(name, values, converted) if values.ndim == 1 else values
    interpreter = _interpreter(table)
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(interpreter.run(tree.body, expr=expression))
    except Exception as error:
        # The interpreter wraps what its operators raise; the first error is the reason.
        held = interpreter.error[0].exc_info[1] if interpreter.error else None
        reason = str(held or error).splitlines()[0]
        for symbol, name in quoted.items():
            reason = reason.replace(symbol, repr(name))
        raise InputError(f"{key}: cannot evaluate {expression!r}: {reason}") from error
    if value.ndim > 1:
        raise InputError(
            f"{key}: {expression!r} has {value.shape[1]} entries in each row: "
            f"name one of them, such as {expression if value.shape[1] else 'column'}[0]"
        )
    return value


def _wide(name: str, values: np.ndarray, converted: Converted) -> np.ndarray:
    """A column of numbers in double precision or as 64-bit integers, in native byte order."""
    if values.dtype.kind == "f":
        dtype = np.dtype(np.float64)
    elif values.dtype == np.bool_ or values.dtype == np.uint64:
        dtype = values.dtype.newbyteorder("=")
    else:
        dtype = np.dtype(np.int64)
    return values if values.dtype == dtype else converted(name, values, dtype)


def check_numeric(values: np.ndarray, what: str) -> None:
    """Check that a column holds real numbers.

    Args:
        values: (n,) or (n, m) values.
        what: how to name the column in a message.

    Raises:
        InputError: the values are not real numbers, or have another shape.
    """
    if values.dtype.kind not in "biuf":
        kind = str(values.dtype)
        if values.dtype.kind in TEXT and len(values):
            some = values[0].decode(errors="replace") if values.dtype.kind == "S" else values[0]
            kind = f"text, such as {str(some)!r}" if isinstance(some, str | bytes) else kind
        raise InputError(f"{what} is not numeric (it is {kind})")
    if values.ndim not in (1, 2):
        raise InputError(f"{what} has shape {values.shape}, not (rows,) or (rows, entries)")


class _Elementwise(Interpreter):
    """The minimal interpreter, whose logic works on whole columns.

    Its symbols are columns and constants; functions are looked up in ``FUNCTIONS`` alone.
    """

    def value(self, node: ast.AST) -> Any:
        return self.run(node)

    def on_call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        return FUNCTIONS[node.func.id](*(self.value(argument) for argument in node.args))

    def on_binop(self, node: ast.BinOp) -> Any:
        if isinstance(node.op, ast.Pow):
            # In floating point, so that neither 9**9**9 nor an integer column to a negative
            # power is special.
            return np.float_power(self.value(node.left), self.value(node.right))
        return super().on_binop(node)

    def on_boolop(self, node: ast.BoolOp) -> Any:
        combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        value = _logical(self.value(node.values[0]))
        for other in node.values[1:]:
            value = combine(value, _logical(self.value(other)))
        return value

    def on_unaryop(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return np.logical_not(_logical(self.value(node.operand)))
        return super().on_unaryop(node)

    def on_compare(self, node: ast.Compare) -> Any:
        if (found := _compared_with_text(node)) is not None:
            equal = _equal(self.value(found[0]), found[1])
            return equal if isinstance(node.ops[0], ast.Eq) else ~equal
        left, value = self.value(node.left), None
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.value(comparator)
            holds = _COMPARISONS[type(op)](left, right)
            value = holds if value is None else np.logical_and(value, holds)
            left = right
        return value

    def on_subscript(self, node: ast.Subscript) -> Any:
        assert isinstance(node.value, ast.Name)
        vector, entry = self.value(node.value), _entry(node)
        if np.ndim(vector) != 2:
            raise ValueError(f"{node.value.id} is not a vector column")
        if not -vector.shape[1] <= entry < vector.shape[1]:
            raise ValueError(f"{node.value.id} has {vector.shape[1]} entries, counted from 0")
        return _wide(node.value.id, vector[:, entry], _converted)


_of_thread = threading.local()


def _interpreter(table: dict[str, Any]) -> _Elementwise:
    """The interpreter of this thread, which takes long to make, with these symbols."""
    if not hasattr(_of_thread, "interpreter"):
        _of_thread.interpreter = _Elementwise(symtable={}, minimal=True)
    interpreter = _of_thread.interpreter
    interpreter.symtable, interpreter.error = table, []
    return interpreter


def _compared_with_text(node: ast.AST) -> tuple[ast.Name, str] | None:
    """The column and the text of a comparison such as ``TYPE == 'GALAXY'``, or None."""
    if not isinstance(node, ast.Compare) or len(node.ops) > 1:
        return None
    column, text = node.left, node.comparators[0]
    if isinstance(column, ast.Constant):
        column, text = text, column
    if (
        isinstance(node.ops[0], ast.Eq | ast.NotEq)
        and isinstance(column, ast.Name)
        and isinstance(text, ast.Constant)
        and isinstance(text.value, str)
    ):
        return column, text.value
    return None


def _equal(values: np.ndarray, text: str) -> np.ndarray:
    """Where a column of text is a text, but for blanks at its end, with which FITS pads it."""
    if values.dtype.kind == "O":
        return np.asarray((values == text) | (values == text.encode()), bool)
    width = values.dtype.itemsize // (1 if values.dtype.kind == "S" else 4)
    forms = {text, text.ljust(width)}
    if values.dtype.kind == "S":
        forms = {form.encode() for form in forms}
    return np.logical_or.reduce([values == form for form in forms])


def _logical(value: Any) -> np.ndarray:
    value = np.asarray(value)
    if value.dtype.kind not in "biu":
        raise ValueError("and, or, not take comparisons (such as x > 0), not plain values")
    return value


@lru_cache  # it is asked for each range of rows
def _parse(expression: str, key: str) -> tuple[ast.Expression, dict[str, str]]:
    """The checked syntax tree, and the columns by the symbols that stand for backquoted names."""
    if not isinstance(expression, str) or not expression.strip():
        raise InputError(f"{key}: {expression!r} is not an expression of columns")
    quoted: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        """A symbol for what is in backquotes, or is a name that Python would normalize."""
        symbol = f"_{len(quoted)}_quoted_"
        while symbol in expression:
            symbol += "_"
        name = match[1] or match[0]
        if match[1] is None and unicodedata.normalize("NFKC", name) == name:
            return name
        quoted[symbol] = name
        return f" {symbol} "

    text = re.sub(r"`([^`]+)`|[^\W\d]\w*", replace, expression)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{key}: {expression!r} is not a valid expression (a column whose name is not one "
            "word is written in backquotes: `2MASS J`)"
        ) from error
    for node in _walk(tree.body):
        if (problem := _problem(node)) is not None:
            raise InputError(f"{key}: {expression!r} uses {problem}")
    return tree, quoted


def _walk(root: ast.AST) -> Iterator[ast.AST]:
    """All nodes, without the names of called functions and the indices of vector entries."""
    stack = [root]
    while stack:
        yield (node := stack.pop())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            stack += [*node.args, *node.keywords]
        elif isinstance(node, ast.Subscript):
            stack.append(node.value)
        elif (found := _compared_with_text(node)) is not None:
            stack.append(found[0])
        else:
            stack += ast.iter_child_nodes(node)


def _problem(node: ast.AST) -> str | None:
    """What an expression may not use, or None."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return f"the text {node.value!r}: it can only be compared, as in column == 'text'"
        good = isinstance(node.value, int | float)
        return None if good else f"{node.value!r}, which is not a number"
    if isinstance(node, ast.Call):
        return _problem_of_call(node)
    if isinstance(node, ast.Subscript):
        good = isinstance(node.value, ast.Name) and _entry(node) is not None
        return None if good else "an index other than column[integer]"
    if isinstance(node, (ast.Name, *_STRUCTURE, *_OPERATORS)):
        return None
    kind = {ast.Attribute: "an attribute (a dot)", ast.IfExp: "if: write where(condition, a, b)"}
    return kind.get(type(node), f"{type(node).__name__}, which is not allowed")


def _problem_of_call(node: ast.Call) -> str | None:
    if not isinstance(node.func, ast.Name):
        return "a call of something that is not a function name"
    if (name := node.func.id) not in FUNCTIONS:
        return f"an unknown function {name}: {closest(name, FUNCTIONS)}"
    count = ARGUMENTS.get(name, 1)
    if node.keywords or len(node.args) != count:
        return f"{name}(...), which takes {count} argument{'s' * (count > 1)}"
    return None


def _entry(node: ast.Subscript) -> Any:
    try:
        entry = ast.literal_eval(node.slice)
    except (ValueError, TypeError):
        return None
    return entry if type(entry) is int else None
