"""Lists of shipped objects to which other packages add objects by entry points.

A package adds an object in its ``pyproject.toml``::

    [project.entry-points."kdescent_dist.readers"]
    my_format = "my_package.my_format:MyTable"

Entry points are loaded only when the shipped objects are not enough.
"""

import importlib.metadata
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from kdescent_dist.config.errors import InputError, closest

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Objects with an attribute ``name``, from this package and from other packages.

    Attributes:
        group: group of the entry points.
        shipped: the objects of this package, in the order of the search.
    """

    group: str
    shipped: tuple[T, ...]

    @property
    def all(self) -> tuple[T, ...]:
        """The shipped objects, then the objects of other installed packages.

        Raises:
            InputError: an object of a package cannot be loaded, or its name is missing or taken.
        """
        found, errors = self.working()
        if errors:
            raise errors[0]
        return found

    def working(self) -> tuple[tuple[T, ...], list[InputError]]:
        """Like ``all``, for a caller that can do without broken objects.

        Returns:
            The shipped and the loadable objects, and an error for each broken object.
        """
        found, errors = list(self.shipped), []
        for entry in entries(self.group):
            try:
                added = self._loaded(entry)
                if name_of(added) in map(name_of, found):
                    raise InputError(
                        f"{_told(entry)}: the name {name_of(added)!r} is taken in {self.group}"
                    )
                found.append(added)
            except InputError as error:
                errors.append(error)
        return tuple(found), errors

    def names(self) -> tuple[str, ...]:
        """The names of all objects."""
        return tuple(map(name_of, self.all))

    def find(self, key: str, name: str) -> T:
        """The object with a name.

        Args:
            key: the config key that holds the name, for messages.
            name: the name.

        Raises:
            InputError: there is no such name (lists the names), or the shipped objects do not have
                the name and an object of a package is broken.
        """
        for one in self.shipped:
            if name_of(one) == name:
                return one
        for one in self.all:
            if name_of(one) == name:
                return one
        raise InputError(
            f"{key}={name}: must be one of {', '.join(self.names())}; {closest(name, self.names())}"
        )

    def _loaded(self, entry: importlib.metadata.EntryPoint) -> T:
        try:
            added = entry.load()
        except Exception as error:  # the other package may raise any error
            raise InputError(
                f"{_told(entry)} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(getattr(added, "name", None), str):
            raise InputError(f"{_told(entry)} has no attribute `name`")
        return added


@cache
def entries(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of a group, in all installed packages; cached."""
    return tuple(importlib.metadata.entry_points(group=group))


def name_of(one: object) -> str:
    return one.name  # type: ignore[attr-defined]


def _told(entry: importlib.metadata.EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "a package"
    return f"{package}: the entry point {entry.name} = {entry.value} of {entry.group}"
