"""Finds the user's modules and the installed packages that code imports, also indirectly."""

import ast
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from kdescent_dist.identity.module_origins import PACKAGE, is_standard, origin
from kdescent_dist.identity.syntax_digests import parsed

# Packages that determine the numbers of other packages.
_ALONG = {"jax": ("jaxlib",)}


def with_imports(names: Iterable[str]) -> tuple[dict[str, Path], set[str]]:
    """Follow all import statements of modules, without importing the modules.

    Modules that cannot be found or parsed are left out.

    Args:
        names: dotted names of modules.

    Returns:
        Names to files of the user's own modules, among the given modules and all modules that they
        import; and the top-level names of the installed packages.
    """
    own: dict[str, Path] = {}
    installed: set[str] = set()
    pending, seen = list(names), set()
    while pending:
        name = pending.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        pending.append(name.rpartition(".")[0])  # a module runs its package first
        whose, file = origin(name)
        if whose == "installed":
            installed.add(name.partition(".")[0])
        elif file is not None:
            own[name] = file
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            try:
                pending += imports(parsed(file.read_bytes()), package)
            except (OSError, SyntaxError):
                continue
    return dict(sorted(own.items())), installed


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of the modules that the import statements of a tree may import.

    Args:
        tree: syntax tree of a module or a part of one.
        package: the package that relative imports start from, empty for no package.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level:
                try:
                    base = importlib.util.resolve_name(base, package)
                except ImportError:
                    continue
            yield base
            if origin(base)[0] != "installed" and not is_standard(base):
                yield from (f"{base}.{alias.name}" for alias in node.names)


def versions(tops: Iterable[str]) -> dict[str, str]:
    """Names to versions of the installed distributions that provide top-level packages.

    Names are in lower case with dashes. This package itself is left out.
    """
    names = {name for top in tops if top != PACKAGE for name in _providers(top)}
    names |= {other for name in names for other in _ALONG.get(name, ())}
    found = {}
    for name in sorted(names):
        try:
            found[re.sub(r"[-_.]+", "-", name).lower()] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _providers(top: str) -> Sequence[str]:
    """Names of the distributions that provide a top-level package, usually one of the same name."""
    try:
        known = importlib.metadata.distribution(top)
    except importlib.metadata.PackageNotFoundError:
        return _distributions().get(top, ())
    listed = (known.read_text("top_level.txt") or "").split()
    provided = listed or {file.parts[0] for file in known.files or ()}
    return [top] if top in provided else _distributions().get(top, ())


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Top-level packages to names of distributions; slow, because it lists all their files."""
    return importlib.metadata.packages_distributions()
