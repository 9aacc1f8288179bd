"""Lists that other packages can add to: what is shipped, and what entry points name.

A package adds to a registry in its ``pyproject.toml``::

    [project.entry-points."kdescent_dist.readers"]
    my_format = "my_package.my_format:MyTable"

Nothing is loaded before something asks for more than what is shipped.
"""

import importlib.metadata
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from kdescent_dist.config.errors import InputError, closest

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Things that have a name, from this package and from others.

    Attributes:
        group: group of the entry points.
        shipped: what this package has, in the order in which it is tried; each has a ``name``.
    """

    group: str
    shipped: tuple[T, ...]

    @property
    def all(self) -> tuple[T, ...]:
        """What is shipped, and after it what installed packages add.

        Raises:
            InputError: what a package adds cannot be loaded, or has a name that is taken.
        """
        found, errors = self.working()
        if errors:
            raise errors[0]
        return found

    def working(self) -> tuple[tuple[T, ...], list[InputError]]:
        """The same for a caller that does without what cannot be loaded.

        Returns:
            What is shipped and what can be loaded, and an error for each of the others.
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
        """The names of all."""
        return tuple(map(name_of, self.all))

    def find(self, key: str, name: str) -> T:
        """What has a name.

        Args:
            key: the config key whose value the name is, for messages.
            name: the name.

        Raises:
            InputError: there is no such name; says which there are.
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
        except Exception as error:  # whatever the other package raises when it is imported
            raise InputError(
                f"{_told(entry)} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(getattr(added, "name", None), str):
            raise InputError(f"{_told(entry)} has no attribute `name`")
        return added


@cache
def entries(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of installed packages; the packages are searched once."""
    return tuple(importlib.metadata.entry_points(group=group))


def name_of(one: object) -> str:
    return one.name  # type: ignore[attr-defined]


def _told(entry: importlib.metadata.EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "a package"
    return f"{package}: the entry point {entry.name} = {entry.value} of {entry.group}"
