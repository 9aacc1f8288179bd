"""The syntax of expressions of catalog columns, and the columns that an expression uses.

An expression may use numbers, ``pi``, columns, arithmetic, comparisons (also chained), elementwise
``and``, ``or`` and ``not``, ``&``, ``|`` and ``~`` (of booleans, or of the bits of integer flags),
an entry of a vector column (``FLUX[3]``) and the functions of ``FUNCTIONS``. A text column may be
compared with a text: ``TYPE == 'GALAXY'``. A column whose name is not a Python identifier is
written in backquotes: `` `phot/mag g` - 0.1``.
"""

import ast
import keyword
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError, closest

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
ARGUMENTS = {"arctan2": 2, "minimum": 2, "maximum": 2, "where": 3}  # the others take 1
CONSTANTS = {"pi": np.pi}
LOGIC = ("and", "or", "not")

_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.UAdd, ast.USub, ast.Not, ast.Invert, ast.BitAnd, ast.BitOr, ast.And, ast.Or),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)
_STRUCTURE = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Load)


def entries_in(expression: str, key: str = "expression") -> set[tuple[str, int | None]]:
    """The columns that an expression uses, each with the entry of a vector column or None.

    Raises:
        InputError: the expression is not valid; names ``key``.
    """
    tree, quoted = parse(expression, key)
    nodes = list(walk(tree.body))
    entries = {n.value: entry_of(n) for n in nodes if isinstance(n, ast.Subscript)}
    symbols = [n for n in nodes if isinstance(n, ast.Name) and n.id not in CONSTANTS]
    return {(quoted.get(n.id, n.id), entries.get(n)) for n in symbols}


def plain_column(expression: str) -> str | None:
    """The name of the column, if a valid expression is a column and nothing else, else None."""
    tree, quoted = parse(expression, "expression")
    if not isinstance(tree.body, ast.Name) or tree.body.id in CONSTANTS:
        return None
    return quoted.get(tree.body.id, tree.body.id)


def quote(name: str) -> str:
    """The expression for the column of any name."""
    return f"`{name}`"


@lru_cache  # called for each range of rows
def parse(expression: str, key: str) -> tuple[ast.Expression, dict[str, str]]:
    """The checked syntax tree, and a mapping from the symbols for quoted names to the names."""
    if not isinstance(expression, str) or not expression.strip():
        raise InputError(f"{key}: {expression!r} is not an expression of columns")
    quoted: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        """Replace a name in backquotes, or a name that Python would normalize, by a symbol."""
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
        words = re.findall(r"[^\W\d]\w*", text)
        taken = [word for word in words if keyword.iskeyword(word) and word not in LOGIC]
        named = f"is named {taken[0]}" if taken else "has a name of several words"
        raise InputError(
            f"{key}: {expression!r} is not a valid expression (a column that {named} is written "
            f"in backquotes: `{taken[0] if taken else '2MASS J'}`)"
        ) from error
    for node in walk(tree.body):
        if (problem := _problem(node)) is not None:
            raise InputError(f"{key}: {expression!r} uses {problem}")
    return tree, quoted


def walk(root: ast.AST) -> Iterator[ast.AST]:
    """All nodes except function names, indices of vector entries and texts in comparisons."""
    stack = [root]
    while stack:
        yield (node := stack.pop())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            stack += [*node.args, *node.keywords]
        elif isinstance(node, ast.Subscript):
            stack.append(node.value)
        elif (found := compared_with_text(node)) is not None:
            stack.append(found[0])
        else:
            stack += ast.iter_child_nodes(node)


def _problem(node: ast.AST) -> str | None:
    """A description of the node if expressions may not use it, else None."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return f"the text {node.value!r}: it can only be compared, as in column == 'text'"
        good = isinstance(node.value, int | float)
        return None if good else f"{node.value!r}, which is not a number"
    if isinstance(node, ast.Call):
        return _problem_of_call(node)
    if isinstance(node, ast.Subscript):
        good = isinstance(node.value, ast.Name) and entry_of(node) is not None
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


def entry_of(node: ast.Subscript) -> Any:
    """The index of an entry of a vector column, None if it is not an integer."""
    try:
        entry = ast.literal_eval(node.slice)
    except (ValueError, TypeError):
        return None
    return entry if type(entry) is int else None


def compared_with_text(node: ast.AST) -> tuple[ast.Name, str] | None:
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


def number_of(node: ast.AST) -> float | None:
    """The value of a literal number, else None; None also for numbers of 2^53 or more."""
    sign = 1
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node, sign = node.operand, -sign
    value = node.value if isinstance(node, ast.Constant) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) >= 2**53:
        return None
    return sign * value
