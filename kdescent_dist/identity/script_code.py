"""The code of functions and classes of a script, a notebook or an interactive session.

Only the code of the function or class counts, and the objects of the script that it uses, not the
whole script.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from enum import Enum
from types import FunctionType
from typing import Any

from kdescent_dist.identity.function_code import code_contents, function_tree, global_names
from kdescent_dist.identity.module_origins import is_standard
from kdescent_dist.identity.own_modules import imports


def function_contents(function: FunctionType) -> list[Any]:
    """The code of a function as values to digest: its own code and the global variables it uses."""
    outside = function.__globals__
    names = global_names(function.__code__)
    return [*code_contents(function), {name: outside[name] for name in names if name in outside}]


def function_imports(function: FunctionType) -> Iterable[str]:
    """Names of modules that the body of a function may import."""
    tree = function_tree(function)
    package = function.__globals__.get("__package__") or ""
    return () if tree is None else imports(tree, package)


def class_contents(cls: type) -> list[Any]:
    """The code of a class as values to digest: its bases, methods, attributes and fields."""
    members = dict(vars(cls))
    annotations = members.get("__annotations__")
    fields = list(annotations) if isinstance(annotations, Mapping) else []
    if dataclasses.is_dataclass(cls):
        fields += [f.default_factory for f in dataclasses.fields(cls)]
    if issubclass(cls, Enum):
        members = {k: v for k, v in members.items() if not k.startswith("_")}
        members |= {name: member.value for name, member in cls.__members__.items()}
    told = {name: value for name, value in members.items() if _tells(name, value)}
    return [list(cls.__bases__), fields, told]


def _tells(name: str, member: Any) -> bool:
    """Whether a member of a class comes from the source of the class."""
    function = getattr(member, "__func__", member)
    if isinstance(function, FunctionType) and _is_made(name, function):
        return False
    if name == "_abc_impl" or type(member).__name__ == "_tuplegetter":
        return False
    return isinstance(function, FunctionType) or not name.startswith("__")


def _is_made(name: str, function: FunctionType) -> bool:
    """Whether the standard library generated a method, such as ``__init__`` of a dataclass."""
    if is_standard(str(function.__globals__.get("__name__"))):
        return True
    return name.startswith("__") and function.__code__.co_filename == "<string>"
