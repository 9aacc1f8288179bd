"""Checks of single values of a config; each room checks its values in combination."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.knobs import Rules, rules_of


def check_values(part: Any, key: str = "") -> None:
    """Check each value of a config, or of a section, by the rules of the schema.

    Args:
        part: a dataclass of the schema.
        key: the dotted key of the section, for messages.

    Raises:
        InputError: names the key, the value and the allowed values.
    """
    prefix = f"{key}." if key else ""
    for one in fields(part):
        value = getattr(part, one.name)
        if value is None:
            continue
        _check_value(prefix + one.name, value, rules_of(one))
        named = value if isinstance(value, Mapping) else {"": value}
        for name, section in named.items():
            if is_dataclass(section):
                check_values(section, f"{prefix}{one.name}" + (f".{name}" if name else ""))


def _check_value(key: str, value: Any, rules: Rules) -> None:
    if rules.target:
        return check_target(key, value)
    if isinstance(value, Mapping):  # the rules are for each value
        for name, one in value.items():
            _check_value(f"{key}.{name}", one, rules)
        return
    if rules.at_least is not None:
        at_least(key, value, rules.at_least)
    if rules.above is not None:
        above(key, value, rules.above)
    if rules.one_of:
        one_of(key, value, rules.one_of)
    if rules.expression:
        check_expression(key, value)


def one_of(key: str, value: Any, allowed: Sequence[str]) -> None:
    """Check that a value is an allowed word.

    Raises:
        InputError: names the key, the value and the allowed words. The checks below raise alike.
    """
    if value not in allowed:
        raise InputError(f"{key}={value}: must be one of {', '.join(allowed)}")


def at_least(key: str, value: float, least: float) -> None:
    """Check that a number is finite and not below ``least``."""
    _finite(key, value)
    if not value >= least:
        raise InputError(f"{key}={value}: must be at least {least}")


def above(key: str, value: float, least: float) -> None:
    """Check that a number is finite and above ``least``."""
    _finite(key, value)
    if not value > least:
        raise InputError(f"{key}={value}: must be greater than {least}")


def _finite(key: str, value: float) -> None:
    try:
        finite = math.isfinite(value)
    except TypeError as error:
        raise InputError(f"{key}={value}: must be a number") from error
    if not finite:
        raise InputError(f"{key}={value}: must be finite")


def check_expression(key: str, text: Any) -> None:
    """Check that an expression of columns is a string."""
    if not isinstance(text, str):
        raise InputError(f"{key}={text}: must be an expression of columns, in quotes")


def check_target(key: str, spec: Any) -> None:
    """Check that a value is a mapping with a ``_target_``; the function is not imported."""
    if not isinstance(spec, Mapping) or "_target_" not in spec:
        raise InputError(f"{key}={spec}: must be {{_target_: dotted path of a function, ...}}")
