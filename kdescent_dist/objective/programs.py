"""Compiled programs that objectives share which differ in nothing but their arrays.

A program of an objective takes all arrays of the objective as arguments. So the program of one
objective also serves another one of the same model, bins, mesh and shapes: fits of many catalogs
compile once.
"""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 64  # programs that are kept; a loop over optimizers makes new ones without end


class Programs:
    """Programs by name, each of which is made once."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def of(self, name: Hashable, make: Callable[[], T]) -> T:
        """The program of a name, made by the first caller.

        Args:
            name: all that the program depends on, apart from what is the same for all objectives
                that share the programs.
            make: makes the program; the arrays of an objective must not be constants in it.
        """
        try:
            known = name in self._made
        except TypeError:  # an optimizer that has no hash
            return make()
        if not known:
            self._made[name] = make()
            if len(self._made) > MOST:
                del self._made[next(iter(self._made))]
        return self._made[name]
