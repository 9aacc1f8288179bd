"""Digests of values that contain one another, also in cycles.

Each value is a node with a label and further values as children. Values of which each contains
the others, such as a parent and its children, are told together.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_MOST_ROUNDS = 16


class Node(NamedTuple):
    """A value as a node.

    Attributes:
        label: what tells it apart from others with the same children.
        children: the values in it.
        ordered: whether the order of the children matters.
    """

    label: str | bytes
    children: Sequence[Any] = ()
    ordered: bool = True


def graph_digest(root: Any, expand: Callable[[Any], Node]) -> str:
    """Digest a value and everything in it; Tarjan's algorithm finds the cycles.

    Args:
        root: the value.
        expand: the node of a value; it is called once for each value.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    nodes: dict[int, tuple[Any, Node]] = {}  # the value stays alive, so that its id stays its own
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
    """Digests of values of which each contains all others, from those of what else they contain.

    Each starts with its label. A round tells more of what surrounds it. In the end each is told
    all of them.
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
