"""The contents of an instance of a class: its pickled state, else its attributes."""

import collections.abc
import copyreg
import functools
import inspect
import weakref
from collections.abc import Mapping
from types import MemberDescriptorType
from typing import Any

import numpy as np

from kdescent_dist.identity.graph_digests import Node
from kdescent_dist.identity.module_origins import PACKAGE, is_internal

_WEAK = (
    weakref.ref,
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
)
# Attributes that functools.wraps copies from the function.
_COPIED = frozenset({*functools.WRAPPER_ASSIGNMENTS, "__annotate__", "__type_params__"})


class Entries(list):
    """Contents whose order does not matter."""


def name_of(value: Any) -> str:
    """Module and qualified name of a class or function, as far as the value has them.

    For this package, the module is the package: its files move between versions.
    """
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    module = getattr(value, "__module__", None)
    if isinstance(module, str) and is_internal(module):
        module = PACKAGE
    parts = (module, name)
    return ".".join(part if isinstance(part, str) else "" for part in parts)


def instance_node(value: Any) -> Node:
    """The node of an instance of a class, by its pickled state, else by its attributes."""
    cls = type(value)
    label = f"instance {name_of(cls)}"
    # NumPy seeds its global generator differently in each process.
    if isinstance(value, _WEAK) or value is getattr(np.random.random, "__self__", None):
        return Node(label)
    reduce = copyreg.dispatch_table.get(cls)
    try:
        parts: Any = reduce(value) if reduce else value.__reduce_ex__(2)
    except Exception:  # classes of the user may raise any error
        return Node(label, [cls, name_of(value), *_contents(value)])
    if isinstance(parts, str):
        return Node(f"{label} {parts}", [cls, name_of(value)])
    maker, arguments, state, items, entries = (*parts, None, None, None)[:5]
    return Node(
        f"{label} {getattr(maker, '__qualname__', '')}",
        [
            cls,
            tuple(arguments or ()),
            _state(cls, state),
            list(items or ()),
            Entries(entries or ()),
        ],
    )


def _state(cls: type, state: Any) -> Any:
    """The attributes of an instance, without the values of cached properties."""
    if isinstance(state, tuple) and len(state) == 2:
        return [_state(cls, part) for part in state]
    if type(state) is not dict:
        return state
    copied = _COPIED if "__wrapped__" in state else frozenset()
    return {
        name: value
        for name, value in state.items()
        if name not in copied
        and not isinstance(inspect.getattr_static(cls, name, None), functools.cached_property)
    }


def _contents(value: Any) -> list[Any]:
    """The contents of an instance that cannot be pickled."""
    cls = type(value)
    if isinstance(value, Mapping):
        return [Entries(value.items())]
    if isinstance(value, collections.abc.Set):
        return [Entries(value)]
    if isinstance(value, collections.abc.Sequence | collections.abc.ValuesView):
        return list(value)
    slots = [name for c in cls.__mro__ if "__slots__" in vars(c) for name in _slots(c)]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return [_state(cls, {**held, **getattr(value, "__dict__", {})})]


def _slots(cls: type) -> list[str]:
    """Names of the attributes that ``__slots__`` of a class defines."""
    return [name for name, slot in vars(cls).items() if isinstance(slot, MemberDescriptorType)]
