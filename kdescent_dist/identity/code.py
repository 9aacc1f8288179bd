"""What tells a function of the user, such as a model, from that of another process.

There are three parts. The object is told by its names and contents. Its code is told by the
user's own modules that it comes from, and by those that these import. What they import from
installed packages is told by the versions of these.
"""

import functools
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from kdescent_dist.identity.content import content_digest
from kdescent_dist.identity.module_origins import is_told_elsewhere
from kdescent_dist.identity.own_modules import versions, with_imports
from kdescent_dist.identity.script_code import class_contents, function_contents, function_imports
from kdescent_dist.identity.syntax_digests import DIGITS, syntax_digest

log = logging.getLogger(__name__)

SCHEME = 2


def describe(function: Any) -> dict[str, str]:
    """Tell a function by what decides its results, apart from its arguments.

    Comments, docstrings, the layout of the source and unused imports do not matter. A function of
    a script or a notebook is told by its own code and that of what it refers to there.

    Args:
        function: a function, a method, an instance with ``__call__``, a partial, an optimizer or
            any other value; None for none.

    Returns:
        By name: the digest of the object (``object``), those of the modules of the user
        (``code.<module>``) and the versions of installed packages (``package.<distribution>``).
        Digests begin with the number of this scheme, as in ``2:0123456789abcdef``.
    """
    if function is None:
        return {"object": "none"}
    digest, own, installed = _told(function)
    return {
        "object": f"{SCHEME}:{digest}",
        **{f"code.{name}": f"{SCHEME}:{_file_digest(file)}" for name, file in own.items()},
        **{f"package.{name}": version for name, version in versions(installed).items()},
    }


def describe_all(functions: Mapping[str, Any]) -> dict[str, str]:
    """Tell several functions by their roles, such as ``model``; None for one that is not there.

    Returns:
        By name: the digest of each object, by its role, and what ``describe`` tells besides. An
        object whose contents cannot be told is told by the names of its class and of itself.
    """
    told = {}
    for role, function in functions.items():
        if function is None:
            continue
        try:
            found = describe(function)
        except Exception as error:  # whatever an object raises that is looked into
            log.warning("%s: its contents cannot be told (%r), only its name", role, error)
            name = getattr(function, "__qualname__", "")
            found = {"object": f"{SCHEME}:{type(function).__qualname__} {name}".strip()}
        told |= {role if name == "object" else name: value for name, value in found.items()}
    return told


def is_shipped(function: Any) -> bool:
    """Whether a function, or the one to which arguments are bound, comes with this package."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__module__", "")).startswith("kdescent_dist.")


def _told(root: Any) -> tuple[str, dict[str, Path], set[str]]:
    """Digest of a value without the code that its modules tell; these modules; and packages."""
    modules: set[str] = set()

    def told(value: FunctionType | type | ModuleType) -> list[Any]:
        if isinstance(value, ModuleType):
            modules.add(value.__name__)
            return []
        name = value.__module__
        if isinstance(value, FunctionType):  # a wrapper copies the module of what it wraps
            modules.add(str(name))
            name = value.__globals__.get("__name__")
        modules.add(str(name))
        if is_told_elsewhere(name):
            return []
        if isinstance(value, type):
            return class_contents(value)
        modules.update(function_imports(value))
        return function_contents(value)

    digest = content_digest([root], told)
    return digest, *with_imports(modules)


def _file_digest(file: Path) -> str:
    source = file.read_bytes()
    try:
        return syntax_digest(source)
    except SyntaxError:  # of another version of Python, and not imported here
        return hashlib.sha256(source).hexdigest()[:DIGITS]
