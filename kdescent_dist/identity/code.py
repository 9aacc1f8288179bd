"""The identity of a function of the user, such as a model.

The identity has three parts: the digest of the object's contents, the digests of the user's own
modules that define the code or are imported by it, and the versions of the installed packages that
these modules import.
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
    """Describe everything that determines the results of a function, except its arguments.

    Comments, docstrings, the layout of the source and unused imports do not matter. For a function
    of a script or a notebook, its own code counts, and the objects in the script that it uses.

    Args:
        function: a function, a method, an instance with ``__call__``, a partial, an optimizer or
            any other value; None for no function.

    Returns:
        Names to values: the digest of the object (``object``), the digests of the user's modules
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
    """Describe several functions by role, such as ``model``; functions that are None are skipped.

    Returns:
        Names to values: the digest of each object under its role, and the modules and packages of
        ``describe``. If an object cannot be digested, its name and the name of its class replace
        the digest.
    """
    told = {}
    for role, function in functions.items():
        if function is None:
            continue
        try:
            found = describe(function)
        except Exception as error:  # objects of the user may raise any error
            log.warning("%s: its contents cannot be told (%r), only its name", role, error)
            name = getattr(function, "__qualname__", "")
            found = {"object": f"{SCHEME}:{type(function).__qualname__} {name}".strip()}
        told |= {role if name == "object" else name: value for name, value in found.items()}
    return told


def is_shipped(function: Any) -> bool:
    """Whether a function, or the function of a partial, comes with this package."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__module__", "")).startswith("kdescent_dist.")


def _told(root: Any) -> tuple[str, dict[str, Path], set[str]]:
    """The digest of a value without the code in its modules, its own modules, and packages."""
    modules: set[str] = set()

    def told(value: FunctionType | type | ModuleType) -> list[Any]:
        if isinstance(value, ModuleType):
            modules.add(value.__name__)
            return []
        name = value.__module__
        if isinstance(value, FunctionType):  # functools.wraps copies __module__
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
    except SyntaxError:  # a module for another version of Python, which is not imported here
        return hashlib.sha256(source).hexdigest()[:DIGITS]
