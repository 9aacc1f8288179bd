"""The code of one function: its syntax tree, or its constants and names without source."""

import ast
import dis
import functools
import inspect
import linecache
from types import CodeType, FunctionType
from typing import Any

from kdescent_dist.identity.syntax_digests import parsed, tree_digest

Tree = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


def function_tree(function: FunctionType) -> Tree | None:
    """Find the syntax tree of a function in the source that defines it.

    Args:
        function: a function of a file, a notebook or an interactive session.

    Returns:
        The tree; None if there is no source, or the source has changed.
    """
    code = function.__code__
    try:
        file = inspect.getsourcefile(code) or code.co_filename
    except TypeError:
        file = code.co_filename
    source = "".join(linecache.getlines(file, function.__globals__))
    found = _trees(source).get((code.co_firstlineno, code.co_name), [])
    return found[0] if len(found) == 1 else _innermost(found, code)


def code_contents(function: FunctionType) -> list[Any]:
    """The code of a function as values to digest: its tree, else its names and constants."""
    tree = function_tree(function)
    if tree is not None:
        return [tree_digest(tree)]
    constants, names = _constants_and_names(function.__code__)
    constants.discard((str, function.__doc__))
    return ["no source", constants, names]


def global_names(code: CodeType) -> set[str]:
    """Names of the global variables that code, or a function in it, uses."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname in _GLOBAL}
    return found.union(*(global_names(c) for c in code.co_consts if isinstance(c, CodeType)))


@functools.lru_cache(maxsize=32)
def _trees(source: str) -> dict[tuple[int, str], list[Tree]]:
    """All functions of a source, by first line and name."""
    found: dict[tuple[int, str], list[Tree]] = {}
    try:
        tree = parsed(source)
    except SyntaxError:
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault((node.lineno, "<lambda>"), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found.setdefault((first, node.name), []).append(node)
    return found


def _innermost(trees: list[Tree], code: CodeType) -> Tree | None:
    """The smallest of several functions on one line that spans all instructions of a code."""
    places = [p for p in code.co_positions() if None not in p and p[2] != p[3]]
    spanning = []
    for tree in trees:
        body = tree.body if isinstance(tree, ast.Lambda) else tree
        first, last = body.lineno, body.end_lineno or body.lineno
        start, end = (first, body.col_offset), (last, body.end_col_offset or 0)
        if all(start <= (p[0], p[2]) and (p[1], p[3]) <= end for p in places):
            spanning.append((last - first, end[1] - start[1], len(spanning), tree))
    return min(spanning)[-1] if places and spanning else None


def _constants_and_names(code: CodeType) -> tuple[set[tuple[type, Any]], set[str]]:
    constants: set[tuple[type, Any]] = set()
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = _constants_and_names(constant)
            constants |= inner[0]
            names |= inner[1]
        elif constant is not None:
            constants.add((type(constant), constant))
    return constants, names
