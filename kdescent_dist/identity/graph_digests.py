"""Digests of values that contain one another, also in cycles.

Each value is a node with a label and further values as children. Values that contain each other,
such as a parent and its children, are digested together.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_MOST_ROUNDS = 16


class Node(NamedTuple):
    """A value as a node.

    Attributes:
        label: distinguishes nodes with the same children.
        children: the values in the value.
        ordered: whether the order of the children matters.
    """

    label: str | bytes
    children: Sequence[Any] = ()
    ordered: bool = True


def graph_digest(root: Any, expand: Callable[[Any], Node]) -> str:
    """Digest a value and everything in it; Tarjan's algorithm finds the cycles.

    Args:
        root: the value.
        expand: returns the node of a value; called once for each value.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    nodes: dict[int, tuple[Any, Node]] = {}  # keeps the values alive, so that ids stay unique
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    digests: dict[int, bytes] = {}
    unfinished: list[int] = []
    path: list[tuple[int, Any]] = []

    def enter(value: Any) -> None:
        key = id(value)
        node = expand(value)
        nodes[key] = value, node
        number[key] = lowest[key] = len(number)
        unfinished.append(key)
        path.append((key, iter(node.children)))

    enter(root)
    while path:
        key, rest = path[-1]
        for child in rest:
            if id(child) not in number:
                enter(child)
                break
            if id(child) not in digests:
                lowest[key] = min(lowest[key], number[id(child)])
        else:
            path.pop()
            if path:
                lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[key])
            if lowest[key] == number[key]:
                together = {}
                while key not in together:
                    member = unfinished.pop()
                    together[member] = nodes[member][1]
                digests.update(_together(together, digests))
    return digests[id(root)].hex()


def _together(nodes: Mapping[int, Node], known: Mapping[int, bytes]) -> dict[int, bytes]:
    """Digests of the values of a strongly connected component.

    The first digest of a value is the digest of its label. Each round mixes in the digests of its
    children. In the end, all digests of the component are mixed into each digest.

    Args:
        nodes: the nodes of the component, by id.
        known: digests of values outside the component, by id.
    """
    (key, node), *others = nodes.items()
    if not others and all(id(child) != key for child in node.children):
        return {key: _mixed(node, known)}
    now = {key: hashlib.sha256(_bytes(node.label)).digest() for key, node in nodes.items()}
    for _ in range(min(len(nodes), _MOST_ROUNDS)):
        now = {key: _mixed(node, known, now) for key, node in nodes.items()}
    everyone = b"".join(sorted(now.values()))
    return {key: hashlib.sha256(digest + everyone).digest() for key, digest in now.items()}


def _mixed(node: Node, *digests: Mapping[int, bytes]) -> bytes:
    parts = [next(d[id(c)] for d in digests if id(c) in d) for c in node.children]
    sha = hashlib.sha256(hashlib.sha256(_bytes(node.label)).digest())
    sha.update(b"".join(parts if node.ordered else sorted(parts)))
    return sha.digest()


def _bytes(label: str | bytes) -> bytes:
    return label if isinstance(label, bytes) else label.encode("utf-8", "surrogatepass")
