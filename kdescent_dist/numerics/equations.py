"""The equations of a program, each of which computes something that no other does.

What does not change in a loop is computed before the loop.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
from jax.extend import core

# Results that cost more to read than to compute: they move only with what is computed from them.
_FREE = frozenset(("broadcast_in_dim", "iota"))
_SMALL = 1024  # elements of a result that moves out of a loop even if it is read from fewer

Atom = core.Var | core.Literal


class Equations:
    """The equations of one program so far.

    Args:
        around: the equations around a loop, if the program is the body of the loop.
        closed: whether the program has a place for constants.

    Attributes:
        closed: as above.
        equations: the equations.
        consts: the constants, by variable.
        moved: variables for what is computed before the loop, and what they stand for around it.
    """

    def __init__(self, *, around: Self | None = None, closed: bool = True) -> None:
        self.equations: list[core.JaxprEqn] = []
        self.consts: dict[core.Var, Any] = {}
        self.moved: dict[core.Var, core.Var] = {}
        self.closed, self._outer = closed, around
        self._around: dict[core.Var, Atom] = {}
        self._inside: dict[core.Var, core.Var] = {}
        self._free: dict[core.Var, tuple[core.JaxprEqn, Sequence[Hashable]]] = {}
        self._names: dict[core.Var, int] = {}
        self._results: dict[Hashable, list[core.Var]] = {}
        self._by_const: dict[int, core.Var] = {}

    def input(self, variable: core.Var, around: Atom | None = None) -> core.Var:
        """A new input; ``around`` has the same value around the loop."""
        new = core.Var(variable.aval)
        self.name(new)
        if around is not None:
            self._around[new] = around
            if isinstance(around, core.Var):
                self._inside.setdefault(around, new)
        return new

    def takes(self, program: core.ClosedJaxpr) -> bool:
        """Whether there is a place for the constants of a program."""
        return self.closed or not program.consts

    def constants(self, program: core.ClosedJaxpr) -> list[core.Var]:
        """The variables of the constants of a program, which become constants here."""
        variables = zip(program.jaxpr.constvars, program.consts, strict=True)
        return [self._const(variable.aval, value) for variable, value in variables]

    def name(self, atom: Atom) -> Hashable:
        """What tells an atom from others: the number of a variable, the bytes of a literal."""
        if isinstance(atom, core.Literal):
            return str(atom.aval), np.asarray(atom.val).tobytes()
        return self._names.setdefault(atom, len(self._names))

    def form(self, results: Sequence[Atom]) -> Hashable:
        """What tells the program from others: its equations, with numbered variables."""
        return (*self._results, tuple(map(self.name, results)))

    def once(self, equation: core.JaxprEqn, forms: Sequence[Hashable]) -> list[core.Var]:
        """The results of an equation, which is added if no other computes the same.

        Args:
            equation: the equation; new variables take the place of its results.
            forms: what tells its parameters from others.
        """
        what = (equation.primitive.name, *map(self.name, equation.invars), *forms)
        if equation.effects or what not in self._results:
            found = self._before_loop(equation, forms)
            self._results[what] = self._added(equation, forms) if found is None else found
        return self._results[what]

    def drop_unused(self, results: Sequence[Atom]) -> None:
        """Forget what is computed before the loop for nothing but other such values."""
        used = {a for e in self.equations for a in e.invars if isinstance(a, core.Var)}
        used.update(atom for atom in results if isinstance(atom, core.Var))
        self.moved = {variable: of for variable, of in self.moved.items() if variable in used}

    def _const(self, aval: Any, value: Any) -> core.Var:
        if id(value) not in self._by_const:
            self._by_const[id(value)] = variable = core.Var(aval)
            self.consts[variable] = value
        return self._by_const[id(value)]

    def _added(self, equation: core.JaxprEqn, forms: Sequence[Hashable]) -> list[core.Var]:
        results = [core.Var(result.aval) for result in equation.outvars]
        self.equations.append(added := equation.replace(outvars=results))
        if equation.primitive.name in _FREE:
            self._free[results[0]] = added, forms
        return results

    def _before_loop(
        self, equation: core.JaxprEqn, forms: Sequence[Hashable]
    ) -> list[core.Var] | None:
        """The results, computed before the loop; None if they cannot or should not be."""
        outer = self._outer
        if outer is None or equation.effects or equation.primitive.name in _FREE:
            return None
        size = sum(size_of(result) for result in equation.outvars)
        if size > max(sum(map(self._read, equation.invars)), _SMALL):
            return None
        around = self._all_around(equation.invars, outer)
        if around is None:
            return None
        found = outer.once(equation.replace(invars=around), forms)
        for variable in found:
            if variable not in self._inside:
                self.moved[self.input(variable, variable)] = variable
        return [self._inside[variable] for variable in found]

    def _read(self, atom: Atom) -> int:
        """Number of values that an atom is made of: without copies, and without literals."""
        if isinstance(atom, core.Literal):
            return 0
        if atom in self._free:
            return sum(map(self._read, self._free[atom][0].invars))
        return size_of(atom)

    def _all_around(self, atoms: Sequence[Atom], outer: Self) -> list[Atom] | None:
        """What has the values of the atoms around the loop; None if an atom changes in the loop."""
        found = [self._one_around(atom, outer) for atom in atoms]
        return None if None in found else [atom for atom in found if atom is not None]

    def _one_around(self, atom: Atom, outer: Self) -> Atom | None:
        if isinstance(atom, core.Literal):
            return atom
        if atom in self._around:
            return self._around[atom]
        if atom in self.consts:
            return outer._const(atom.aval, self.consts[atom]) if outer.closed else None
        if atom not in self._free:
            return None
        equation, forms = self._free[atom]
        around = self._all_around(equation.invars, outer)
        if around is None:
            return None
        (self._around[atom],) = outer.once(equation.replace(invars=around), forms)
        return self._around[atom]


def shape_of(atom: Atom) -> tuple[int, ...]:
    """The shape of an array."""
    array: Any = atom.aval
    return array.shape


def size_of(atom: Atom) -> int:
    """The number of elements of an array."""
    return math.prod(shape_of(atom))
