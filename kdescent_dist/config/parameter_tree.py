"""The parameters of a model as a tree of arrays, and as one vector of all entries.

A mapping of names to numbers is the simplest tree. The entries of a dict keep the order of the
dict, unlike in JAX, which sorts the keys: the vector has the order of the config.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError, closest


@dataclass(frozen=True)
class _Leaf:
    """The place of a leaf in the vector (index of its first entry), and its shape."""

    first: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ParameterTree:
    """Names of all entries of a tree, and the map between the tree and the vector.

    Attributes:
        names: name of each entry, as a path: ``galaxies.slope``, ``weights[2]``, ``matrix[0,1]``.
        template: the tree with a ``_Leaf`` in place of each leaf; None if the model takes the
            vector itself.
    """

    names: tuple[str, ...]
    template: Any = None

    @classmethod
    def of_names(cls, names: Sequence[str]) -> "ParameterTree":
        """The tree of the parameters of a config: a dict of scalars."""
        return cls(tuple(names), {name: _Leaf(i, ()) for i, name in enumerate(names)})

    @classmethod
    def of(cls, tree: Any) -> "ParameterTree":
        """The form of a tree: nested dicts, lists and tuples, or any pytree of numbers and arrays.

        Raises:
            InputError: a leaf is not a number or an array of numbers, or two entries have the same
                name.
        """
        names: list[str] = []

        def placed(leaf: Any, path: str) -> _Leaf:
            shape = _numbers(leaf, path).shape
            place = _Leaf(len(names), shape)
            names.extend(f"{path}{_index(at)}" for at in np.ndindex(shape))
            return place

        template = _mapped(tree, placed)
        if twice := sorted(name for name, number in Counter(names).items() if number > 1):
            raise InputError(f"parameters: {twice[0]}: two entries have this name")
        return cls(tuple(names), template)

    def unflatten(self, vector: Any) -> Any:
        """The tree whose leaves are the parts of a vector (P,).

        Raises:
            InputError: the length of the vector is not P.
        """
        if len(vector) != len(self.names):
            raise InputError(f"parameters: {len(vector)} values for {len(self.names)} parameters")
        if self.template is None:
            return vector
        scalars = all(not leaf.shape for leaf, _ in _leaves(self.template))
        # Scalars alone are unpacked at once: one operation each would change the program.
        entries: Any = list(vector) if scalars else vector

        def part(leaf: _Leaf, _: str) -> Any:
            if not leaf.shape:
                return entries[leaf.first]
            size = int(np.prod(leaf.shape))
            return entries[leaf.first : leaf.first + size].reshape(leaf.shape)

        return _mapped(self.template, part)

    def flatten(self, tree: Any, what: str = "parameters") -> np.ndarray:
        """The vector (P,) of the entries of a tree with the same names, for any order of dicts.

        Args:
            tree: a pytree of numbers and arrays; the vector itself if there is no template.
            what: name of the tree, for messages.

        Raises:
            InputError: an entry is missing or unknown, or a leaf is not numeric.
        """
        if self.template is None:
            return np.asarray(tree)
        parts = [_numbers(leaf, path).ravel() for leaf, path in _leaves(tree)]
        entries = np.concatenate(parts) if parts else np.zeros(0)
        values = dict(zip(ParameterTree.of(tree).names, entries, strict=True))
        known = set(self.names)
        for name in values:
            if name not in known:
                raise InputError(f"{what}: {name}: no such parameter; {closest(name, self.names)}")
        for name in self.names:
            if name not in values:
                raise InputError(f"{what}: {name}: is missing")
        return np.array([values[name] for name in self.names])

    def below(self, path: str, what: str) -> list[int]:
        """Indices in the vector of the entry at a path, or of all entries below the path.

        Args:
            path: name of an entry, of an array or of a branch: ``galaxies``, ``weights``.
            what: name of the argument that holds the path, for messages.

        Raises:
            InputError: there is no such entry.
        """
        branches = (f"{path}.", f"{path}[")
        found = [i for i, n in enumerate(self.names) if n == path or n.startswith(branches)]
        if not found:
            raise InputError(f"{what}: {path}: no such parameter; {closest(path, self.names)}")
        return found


def _mapped(node: Any, make: Callable[[Any, str], Any], path: str = "") -> Any:
    """The same tree with other leaves.

    Args:
        node: the tree.
        make: returns a new leaf from a leaf and its path; called in the order of the vector.
        path: path of the tree.
    """
    if type(node) is dict:
        return {key: _mapped(one, make, _below(path, f".{key}")) for key, one in node.items()}
    if isinstance(node, _Leaf):
        return make(node, path)
    from jax import tree_util

    # One level at a time: a dict at any depth keeps its own order, which JAX would not.
    children, structure = tree_util.tree_flatten_with_path(node, is_leaf=lambda n: n is not node)
    if children and not children[0][0]:
        return make(node, path)
    new = [_mapped(child, make, _below(path, _step(keys[0]))) for keys, child in children]
    return tree_util.tree_unflatten(structure, new)


def _leaves(tree: Any) -> list[tuple[Any, str]]:
    """The leaves of a tree with their paths, in the order of the vector."""
    found: list[tuple[Any, str]] = []
    _mapped(tree, lambda leaf, path: found.append((leaf, path)))
    return found


def _step(key: Any) -> str:
    """The part of a path for a key of a pytree."""
    if hasattr(key, "idx"):
        return f"[{key.idx}]"
    return f".{key.name}" if hasattr(key, "name") else f".{key.key}"


def _below(path: str, step: str) -> str:
    return f"{path}{step}" if path else step.removeprefix(".")


def _index(at: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, at))}]" if at else ""


def _numbers(leaf: Any, path: str) -> np.ndarray:
    values = np.asarray(leaf)
    if not (np.issubdtype(values.dtype, np.floating) or np.issubdtype(values.dtype, np.integer)):
        raise InputError(f"parameters: {path}: {leaf!r} is no number and no array of numbers")
    return values
