"""The user's own modules that code imports, directly or indirectly, and the installed packages."""

import ast
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from kdescent_dist.identity.module_origins import PACKAGE, is_standard, origin
from kdescent_dist.identity.syntax_digests import parsed

# Packages whose numbers another one computes.
_ALONG = {"jax": ("jaxlib",)}


def with_imports(names: Iterable[str]) -> tuple[dict[str, Path], set[str]]:
    """Follow the import statements of modules, wherever they stand in them.

    Nothing is imported for it. What cannot be found or parsed is left out.

    Args:
        names: dotted names of modules.

    Returns:
        Files of the user's own modules among these and among those that they import, by name;
        and the top-level names of the installed packages.
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
        package: the package that relative imports start from, empty for none.
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
    """Versions of the installed distributions that provide top-level packages, by name.

    A distribution is named in lower case with dashes; this package itself is left out.
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
    """Names of the distributions that provide a top-level package, mostly one of its own name."""
    try:
        known = importlib.metadata.distribution(top)
    except importlib.metadata.PackageNotFoundError:
        return _distributions().get(top, ())
    listed = (known.read_text("top_level.txt") or "").split()
    provided = listed or {file.parts[0] for file in known.files or ()}
    return [top] if top in provided else _distributions().get(top, ())


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Names of distributions by what they provide; to find them, all their files are listed."""
    return importlib.metadata.packages_distributions()
