"""Rules of a knob beside its type and default: allowed values, and who may change the knob."""

from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

_RULES = "knob"


@dataclass(frozen=True)
class Rules:
    """The rules for the values of a knob.

    Attributes:
        at_least: the smallest allowed number.
        above: the number that a value must exceed.
        one_of: the allowed words.
        resumable: whether a resume may change the knob. Such a knob changes the speed, the length
            or the reports of a fit, and never the trajectory (up to rounding on other devices, or
            with another reduction than ``reproducible``).
        expression: whether the value, or each value in a mapping, is an expression of columns.
        target: whether the value is ``{_target_: dotted path, ...}``.
        free: whether the command line may add keys that the schema does not know to the mapping.
    """

    at_least: float | None = None
    above: float | None = None
    one_of: tuple[str, ...] = ()
    resumable: bool = False
    expression: bool = False
    target: bool = False
    free: bool = False


def knob(default: Any = None, *, factory: Callable[[], Any] | None = None, **rules: Any) -> Any:
    """A field of the schema with rules.

    Args:
        default: the default value.
        factory: makes the default value, for a mutable default.
        rules: see ``Rules``.
    """
    metadata = {_RULES: Rules(**rules)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def rules_of(one: Field) -> Rules:
    """The rules of a field; empty rules if the schema gives none."""
    return one.metadata.get(_RULES, Rules())


def knobs(schema: type, prefix: str = "") -> Iterator[tuple[str, Rules]]:
    """All knobs of a schema, each section before its knobs.

    Args:
        schema: a dataclass.
        prefix: prefix of the keys.

    Yields:
        The dotted key, with ``*`` for names that the user chooses, and the rules.
    """
    types = get_type_hints(schema)
    for one in fields(schema):
        key = prefix + one.name
        yield key, rules_of(one)
        for part, named in _sections(types[one.name]):
            yield from knobs(part, f"{key}.*." if named else f"{key}.")


def _sections(annotation: Any) -> Iterator[tuple[type, bool]]:
    """The dataclasses in a type, and whether they are values of a dict with free names."""
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            if part is not NoneType:
                yield from _sections(part)
    elif get_origin(annotation) is dict:
        yield from ((part, True) for part, _ in _sections(get_args(annotation)[1]))
    elif is_dataclass(annotation) and isinstance(annotation, type):
        yield annotation, False
