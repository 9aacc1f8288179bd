"""Evaluates expressions of catalog columns from the config, such as ``mag_g - mag_r``.

The syntax of expressions is in ``grammar``.
"""

import ast
import operator
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from asteval import Interpreter

from kdescent_dist.catalogs.grammar import (
    CONSTANTS,
    FUNCTIONS,
    compared_with_text,
    entry_of,
    number_of,
    parse,
    walk,
)
from kdescent_dist.config.errors import InputError, closest

TEXT = "SUO"  # kinds of NumPy types
IN_PARENTHESES = "write (x > 0) & (y < 1), or x > 0 and y < 1"

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_MIRRORED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
# Equivalent comparisons with a number that was rounded (down, up) to the type of the column.
_ROUNDED: dict[type[ast.cmpop], tuple[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: (ast.LtE, ast.Lt),
    ast.LtE: (ast.LtE, ast.Lt),
    ast.Gt: (ast.Gt, ast.GtE),
    ast.GtE: (ast.Gt, ast.GtE),
}
Converted = Callable[[str, np.ndarray, Any], np.ndarray]


def _converted(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    return values.astype(dtype)


def evaluate(
    expression: str,
    columns: Mapping[str, np.ndarray],
    key: str = "expression",
    converted: Converted = _converted,
    into: np.ndarray | None = None,
) -> np.ndarray:
    """Evaluate an expression row by row, in double precision.

    Undefined values, such as the logarithm of a negative number, quietly become NaN.

    Args:
        expression: what to compute.
        columns: columns by name, of shape (n,) or, for a vector column, (n, m).
        key: the config key that the expression comes from, for messages.
        converted: ``converted(name, values, dtype)`` converts a column; by default to a new array.
        into: (n,) output array, whose type the caller rounds the values to. If that is faster, the
            same rounded values are written to ``into``, which is then returned.

    Returns:
        (n,) values, or a 0-d array if the expression uses no column.

    Raises:
        InputError: the expression is not valid, uses an unknown column or gives vectors.
    """
    tree, quoted = parse(expression, key)
    table: dict[str, Any] = dict(CONSTANTS)
    nodes = list(walk(tree.body))
    symbols = {n.id for n in nodes if isinstance(n, ast.Name)}
    compared = [compared_with_text(n) for n in nodes]
    texts = {column.id for found in compared if found is not None for column in found[:1]}
    for symbol in sorted(symbols - table.keys()):
        name = quoted.get(symbol, symbol)
        if name not in columns:
            raise InputError(
                f"{key}: no column {name!r} for {expression!r}: {closest(name, columns)}"
            )
        what, values = f"{key}: column {name!r}", np.asarray(columns[name])
        if symbol not in texts or values.dtype.kind not in TEXT or values.ndim != 1:
            check_numeric(values, what)
            if symbol in texts:
                raise InputError(
                    f"{what} holds numbers: compare it with a number in {expression!r}"
                )
        table[symbol] = values
    interpreter = _interpreter(table, converted)
    try:
        with np.errstate(all="ignore"):
            if into is not None and interpreter.add_into(tree.body, into):
                return into
            value = np.asarray(interpreter.run(tree.body, expr=expression))
    except Exception as error:
        # The interpreter wraps errors; the first error is the reason.
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
        what: name of the column, for messages.

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
        raise InputError(
            f"{what} has entries of shape {values.shape[1:]}: neither a number nor a vector a row"
        )


class _Elementwise(Interpreter):
    """asteval's minimal interpreter, with elementwise logic on whole columns.

    Its symbols are columns and constants; functions come from ``FUNCTIONS`` alone. A column is
    converted to a wide type when it is used. Of a vector column, only the used entry is converted.
    """

    def begin(self, table: dict[str, Any], converted: Converted) -> None:
        self.symtable, self.error = table, []
        self._convert, self._widened = converted, {}

    def value(self, node: ast.AST) -> Any:
        return self.run(node)

    def on_name(self, node: ast.Name) -> Any:
        values = self.symtable[node.id]
        if np.ndim(values) != 1 or values.dtype.kind in TEXT:
            return values
        if node.id not in self._widened:
            self._widened[node.id] = _wide(node.id, values, self._convert)
        return self._widened[node.id]

    def add_into(self, node: ast.AST, into: np.ndarray) -> bool:
        """Write the expression to ``into`` if it is a sum or difference of two columns of one type.

        Returns:
            Whether the values were written. They equal rounded values in double precision, because
            single precision has less than half of the digits (Figueroa 1995, "When is double
            rounding innocuous?").
        """
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Sub):
            return False
        left, right = self._floats(node.left), self._floats(node.right)
        if left is None or right is None or not left.dtype == right.dtype == into.dtype:
            return False
        (np.add if isinstance(node.op, ast.Add) else np.subtract)(left, right, out=into)
        return True

    def _floats(self, node: ast.AST) -> np.ndarray | None:
        """The column that a node names, if it is in single or double precision, else None."""
        values = np.asarray(self.symtable[node.id] if isinstance(node, ast.Name) else None)
        return values if values.ndim == 1 and values.dtype in (np.float32, np.float64) else None

    def on_call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        return FUNCTIONS[node.func.id](*(self.value(argument) for argument in node.args))

    def on_binop(self, node: ast.BinOp) -> Any:
        if isinstance(node.op, ast.Pow):
            # In floating point: 9**9**9 overflows quickly, and integers take negative powers.
            return np.float_power(self.value(node.left), self.value(node.right))
        if isinstance(node.op, ast.BitAnd | ast.BitOr):
            left, right = self.value(node.left), self.value(node.right)
            if (_kind_of_bits(left) == "b") != (_kind_of_bits(right) == "b"):
                raise ValueError(f"& and | of a comparison and a number: {IN_PARENTHESES}")
            return left & right if isinstance(node.op, ast.BitAnd) else left | right
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
        if isinstance(node.op, ast.Invert):
            value = self.value(node.operand)
            _kind_of_bits(value)  # raises for other types
            return np.invert(value)
        return super().on_unaryop(node)

    def on_compare(self, node: ast.Compare) -> Any:
        if (found := compared_with_text(node)) is not None:
            equal = _equal(self.value(found[0]), found[1])
            return equal if isinstance(node.ops[0], ast.Eq) else ~equal
        operands, value = [node.left, *node.comparators], None
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            holds = self._compared(type(op), left, right)
            value = holds if value is None else np.logical_and(value, holds)
        return value

    def _compared(self, op: type[ast.cmpop], left: ast.AST, right: ast.AST) -> Any:
        if number_of(left) is not None:
            op, left, right = _MIRRORED.get(op, op), right, left
        values, number = self._floats(left), number_of(right)
        if values is None or number is None:
            return _COMPARISONS[op](self.value(left), self.value(right))
        # The comparison needs no conversion of the column: if its type cannot represent the number,
        # a comparison with the nearest number of the type gives the same result.
        near = float(values.dtype.type(number))
        if near != number:
            if op not in _ROUNDED:
                return np.full(values.shape, op is ast.NotEq)
            op = _ROUNDED[op][near > number]
        return _COMPARISONS[op](values, near)

    def on_subscript(self, node: ast.Subscript) -> Any:
        assert isinstance(node.value, ast.Name)
        vector, entry = self.value(node.value), entry_of(node)
        if np.ndim(vector) != 2:
            raise ValueError(f"{node.value.id} is not a vector column")
        if not -vector.shape[1] <= entry < vector.shape[1]:
            raise ValueError(f"{node.value.id} has {vector.shape[1]} entries, counted from 0")
        return _wide(node.value.id, vector[:, entry], _converted)


_of_thread = threading.local()


def _interpreter(table: dict[str, Any], converted: Converted) -> _Elementwise:
    """The interpreter of this thread, with these symbols; a new interpreter is slow to create."""
    if not hasattr(_of_thread, "interpreter"):
        _of_thread.interpreter = _Elementwise(symtable={}, minimal=True)
    interpreter = _of_thread.interpreter
    interpreter.begin(table, converted)
    return interpreter


def _equal(values: np.ndarray, text: str) -> np.ndarray:
    """Where a text column equals a text, up to trailing blanks, which are the padding of FITS."""
    if values.dtype.kind == "O":
        return np.asarray((values == text) | (values == text.encode()), bool)
    width = values.dtype.itemsize // (1 if values.dtype.kind == "S" else 4)
    forms = {text, text.ljust(width)}
    if values.dtype.kind == "S":
        forms = {form.encode() for form in forms}
    return np.logical_or.reduce([values == form for form in forms])


def _kind_of_bits(value: Any) -> str:
    kind = np.asarray(value).dtype.kind
    if kind not in "biu":
        raise ValueError(
            f"&, | and ~ take comparisons and integers: {IN_PARENTHESES}; a flag with missing "
            "values is a number: write flag == 1"
        )
    return kind


def _logical(value: Any) -> np.ndarray:
    value = np.asarray(value)
    if value.dtype.kind not in "biu":
        raise ValueError("and, or, not take comparisons (such as x > 0), not plain values")
    return value
