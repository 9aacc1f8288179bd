"""Digests of Python values by their contents, equal in every process.

Digests do not depend on addresses, on hash seeds or on abbreviated ``repr`` texts.
"""

import functools
import re
import struct
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

import jax
import numpy as np

from kdescent_dist.identity.array_content import array_node
from kdescent_dist.identity.function_code import code_contents
from kdescent_dist.identity.graph_digests import Node, graph_digest
from kdescent_dist.identity.instance_content import Entries, instance_node, name_of
from kdescent_dist.identity.syntax_digests import DIGITS

Told = Callable[[FunctionType | type | ModuleType], Sequence[Any]]

_ENTRIES = "kdescent_dist.instance_content.Entries"  # as in the checkpoints of every version
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
# Compiled wrappers of a function.
_WRAPPERS = {
    staticmethod: "static",
    classmethod: "class",
    type(functools.cache(abs)): "cached",
    type(jax.jit(abs)): "jit",
}


def own_code(value: FunctionType | type | ModuleType) -> Sequence[Any]:
    """The own code of a function, the default of ``told`` in ``content_digest``."""
    return code_contents(value) if isinstance(value, FunctionType) else ()


def content_digest(value: Any, told: Told = own_code) -> str:
    """Digest the contents of a value, and of everything in it.

    The order of dicts and sets does not matter. The following contents count: for a class, a module
    or a built-in function, its name; for an instance, its class and its pickled state, or else its
    attributes; for a function, its name, its own code, its defaults and its closure. For an object
    without such contents, such as a lock, only the name of its class counts.

    Args:
        value: any value; cycles are allowed.
        told: returns further contents of a function, a class or a module, beside its name.

    Returns:
        16 hexadecimal digits, the same on Python 3.11 to 3.13.
    """
    return graph_digest(value, functools.partial(_node, told=told))[:DIGITS]


def _node(value: Any, told: Told) -> Node:
    cls = type(value)
    if cls in _PLAIN:
        return Node(_plain(value))
    if cls in (list, tuple):
        if all(type(v) in _PLAIN for v in value):  # one node, for speed
            parts = (b" %d:%b" % (len(part), part) for part in map(_plain, value))
            return Node(cls.__name__.encode() + b"".join(parts))
        return Node(cls.__name__, list(value))
    if cls is dict:
        return Node("dict", list(value.items()), ordered=False)
    if isinstance(value, Entries):
        return Node(_ENTRIES, list(value), ordered=False)
    if isinstance(value, set | frozenset):
        return Node(name_of(cls), list(value), ordered=False)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return array_node(value)
    if isinstance(value, np.dtype):
        return Node(f"dtype {value}")
    if isinstance(value, PurePath):  # Python versions define its class in different modules
        return Node(f"path {value}")
    if isinstance(value, re.Pattern):
        return Node("pattern", [value.pattern, value.flags])
    if isinstance(value, Enum):
        return Node("member", [cls, value.name, value.value])
    return _code_node(value, told) or instance_node(value)


def _plain(value: Any) -> bytes:
    if isinstance(value, float | complex):
        bits = struct.pack(">dd", value.real, value.imag)
        return f"{type(value).__name__} {bits.hex()}".encode()
    if isinstance(value, str):
        return b"str " + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"bytes " + value
    text = f"{value:#x}" if isinstance(value, int) else ""
    return f"{type(value).__name__} {text}".encode()


def _code_node(value: Any, told: Told) -> Node | None:
    """The node of a function, a class, a module or a wrapper of a function, else None."""
    if isinstance(value, FunctionType):
        attributes = {k: v for k, v in vars(value).items() if k != "__signature__"}
        closure = [_held(cell) for cell in value.__closure__ or ()]
        names = [value.__globals__.get("__name__"), value.__code__.co_qualname]
        bound = [value.__defaults__, value.__kwdefaults__, closure, attributes]
        return Node(f"function {name_of(value)}", [names, bound, *told(value)])
    if isinstance(value, type):
        return Node(f"class {name_of(value)}", told(value))
    if isinstance(value, ModuleType):
        return Node(f"module {value.__name__}", told(value))
    if isinstance(value, MethodType):
        return Node("method", [value.__func__, value.__self__])
    if isinstance(value, BuiltinFunctionType):
        owner = value.__self__
        named = owner is None or isinstance(owner, ModuleType)
        return Node(f"builtin {name_of(value)}", [] if named else [owner])
    if type(value).__name__ == "cython_function_or_method":
        return Node(f"compiled {value.__module__}.{value.__qualname__}")
    if isinstance(value, np.ufunc):
        return Node(f"ufunc {value.__name__}")
    if isinstance(value, CodeType):
        return Node(f"code {value.co_qualname}", [value.co_names])
    if isinstance(value, property):
        return Node("property", [value.fget, value.fset, value.fdel])
    if isinstance(value, functools.cached_property):
        return Node("cached_property", [value.func])
    if type(value) in _WRAPPERS:
        return Node(f"wrapper {_WRAPPERS[type(value)]}", [value.__wrapped__])
    return None


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "empty cell"
