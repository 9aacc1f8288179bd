"""Digests of Python source by its meaning, not its layout.

The syntax tree is written out in our own form, which is the same for all Python versions. Comments,
blank lines, positions and docstrings do not count. Of an import statement, only the names that the
source uses count, with their meanings.
"""

import ast
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from kdescent_dist.identity.module_origins import PACKAGE, is_internal

DIGITS = 16
_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class _Mark(str):
    """A token of the written-out tree, as opposed to a string in the tree."""


def parsed(source: str | bytes) -> ast.Module:
    """Parse source, without warnings about the source.

    Args:
        source: text, or the bytes of a file, whose first lines may name the encoding.

    Raises:
        SyntaxError: the source is not valid in this version of Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error)) from error


def syntax_digest(source: str | bytes) -> str:
    """Digest the syntax tree of Python source.

    Args:
        source: text, or the bytes of a file.

    Returns:
        16 hexadecimal digits, the same on Python 3.11 to 3.13.

    Raises:
        SyntaxError: the source is not valid in this version of Python.
    """
    return tree_digest(parsed(source))


def tree_digest(tree: ast.AST) -> str:
    """Digest a syntax tree, or a part of one, such as a function; see ``syntax_digest``."""
    sha = hashlib.sha256()
    for token in _tokens([tree, _used_imports(tree)]):
        sha.update(token.encode() + b"\n")
    return sha.hexdigest()[:DIGITS]


def _tokens(tree: Any) -> Iterator[str]:
    """Write out a tree, without recursion: a sum of a thousand terms is a thousand levels deep."""
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, _Mark):
            yield item
        elif isinstance(item, ast.AST):
            pending += reversed(_parts(item))
        elif isinstance(item, list | tuple):
            pending += reversed([_Mark("["), *item, _Mark("]")])
        else:
            # Python versions differ in the characters that repr escapes, and limit decimal digits.
            text = f"{item:#x}" if isinstance(item, int) else ascii(item)
            yield f"{type(item).__name__}:{text}"


def _parts(node: ast.AST) -> list[Any]:
    parts: list[Any] = [_Mark(f"{type(node).__name__}(")]
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED:
            continue
        if isinstance(value, list):
            value = [v for v in value if not isinstance(v, ast.Import | ast.ImportFrom)]
            if name == "body" and isinstance(node, _DOCUMENTED) and _is_text(value[:1]):
                value = value[1:]
            if isinstance(node, ast.JoinedStr):
                value = _joined(value)
        if (value is None and not isinstance(node, ast.Constant)) or value == []:
            continue
        parts += [_Mark(f"{name}="), value]
    return [*parts, _Mark(")")]


def _is_text(statements: Sequence[ast.AST]) -> bool:
    return any(
        isinstance(s, ast.Expr)
        and isinstance(s.value, ast.Constant)
        and isinstance(s.value.value, str)
        for s in statements
    )


def _joined(values: Sequence[ast.AST]) -> list[ast.AST]:
    """The parts of an f-string, with adjacent texts joined: Python versions split them anywhere."""
    joined: list[ast.AST] = []
    for value in values:
        last = joined[-1] if joined else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            joined[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            joined.append(value)
    return joined


def _lasting(module: str) -> str:
    """The name of a module; for this package, whose files move between versions, its own name."""
    return PACKAGE if is_internal(module) else module


def _used_imports(tree: ast.AST) -> list[tuple[str, str]]:
    """Imported names that a tree uses, with their origins."""
    nodes = list(ast.walk(tree))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found.add((alias.asname, alias.name) if alias.asname else (top, top))
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (f"{_lasting(node.module)}." if node.module else "")
            for alias in node.names:
                found.add((alias.asname or alias.name, origin + alias.name))
    return sorted((name, meaning) for name, meaning in found if name in used or name == "*")
