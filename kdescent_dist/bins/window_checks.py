"""Checks of the windows in a config of bins: edges, explicit windows, softness."""

import itertools
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from kdescent_dist.config.errors import InputError, closest

# Keys of rules for edges, such as {number: 10, low: 0.1} or {quantiles: 10}.
RULES = ("number", "quantiles", "low", "high", "log")


def check_windows(key: str, edges: Any, windows: Any, softness: Any) -> None:
    """Check the windows of a bin, or of a grid of bins.

    Args:
        key: config key of the bin or grid, for messages.
        edges: conditional columns to lists of edges, or to rules, which are mappings.
        windows: names of explicit bins to windows, which map conditional columns to (low, high).
        softness: a number, or conditional columns to numbers.

    Raises:
        InputError: a value is not allowed; names the key, the value and the allowed values.
    """
    for name, value in (("edges", edges), ("windows", windows)):
        if not isinstance(value, Mapping):
            raise InputError(f"{key}.{name}: {value} must be a mapping of names")
    if edges and windows:
        raise InputError(
            f"{key}: edges (a grid) and windows (explicit bins) are both given: leave one out, or "
            "write two grids"
        )
    for column, value in edges.items():
        _check_edges(f"{key}.edges.{column}", value)
    for name, window in windows.items():
        _check_window(f"{key}.windows.{name}", window)
    conditions = dict.fromkeys([*edges, *(c for window in windows.values() for c in window)])
    _check_softness(f"{key}.softness", softness, list(conditions))


def _check_edges(key: str, edges: Any) -> None:
    if isinstance(edges, Mapping):
        return _check_rule(key, edges)
    if not _are_numbers(edges):
        raise InputError(
            f"{key}: {edges} must be a list of numbers, {{number: bins}} or {{quantiles: bins}}"
        )
    check_increasing(key, edges)


def check_increasing(key: str, edges: Iterable[Any]) -> None:
    """Check that there are at least two edges, and that edges are finite and increase.

    Raises:
        InputError: the edges fail the check.
    """
    values = [float(e) for e in edges]
    if not all(math.isfinite(e) for e in values):
        raise InputError(
            f"{key}: {edges} must be finite: write a one-sided window with an edge beyond the data"
        )
    if len(values) < 2:
        raise InputError(f"{key}: {edges} needs at least two edges")
    for low, high in itertools.pairwise(values):
        if not low < high:
            raise InputError(f"{key}: {edges} must increase, but {low:g} is followed by {high:g}")


def _check_rule(key: str, rule: Mapping[str, Any]) -> None:
    for name in rule:
        if name not in RULES:
            raise InputError(f"{key}.{name}: there is no such key; {closest(str(name), RULES)}")
    kinds = [name for name in ("number", "quantiles") if rule.get(name) is not None]
    if len(kinds) != 1:
        raise InputError(
            f"{key}: {dict(rule)} must have either number (bins of equal width) or quantiles "
            "(bins of equal weight)"
        )
    bins = rule[kinds[0]]
    if isinstance(bins, bool) or not isinstance(bins, numbers.Integral) or bins < 1:
        raise InputError(f"{key}.{kinds[0]}={bins}: must be a number of bins, 1 or more")
    ends = [(name, rule[name]) for name in ("low", "high") if rule.get(name) is not None]
    for name, value in ends:
        if not _is_number(value) or not math.isfinite(value):
            raise InputError(f"{key}.{name}={value}: must be a finite number")
    if len(ends) == 2:
        check_increasing(key, [value for _, value in ends])
    log = rule.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{key}.log={log}: must be true or false")
    if log and "quantiles" in kinds:
        raise InputError(f"{key}.log: quantiles are the same in the logarithm: leave it out")
    if log and any(value <= 0 for _, value in ends):
        raise InputError(f"{key}: {dict(rule)} must have limits above 0, as log=true")


def _check_window(key: str, window: Any) -> None:
    if not isinstance(window, Mapping) or not window:
        raise InputError(f"{key}: {window} must be {{column: [low, high], ...}}")
    for column, edges in window.items():
        if not _are_numbers(edges) or len(list(edges)) != 2:
            raise InputError(f"{key}.{column}: {edges} must be two numbers, [low, high]")
        check_increasing(f"{key}.{column}", edges)


def _check_softness(key: str, softness: Any, conditions: list[str]) -> None:
    named = {key: softness}
    if isinstance(softness, Mapping):
        for column in softness:
            if column not in conditions:
                raise InputError(
                    f"{key}.{column}: there is no such conditional column; "
                    + (closest(str(column), conditions) if conditions else "give its edges")
                )
        named = {f"{key}.{column}": value for column, value in softness.items()}
    for name, value in named.items():
        if not _is_number(value):
            raise InputError(f"{name}={value}: must be a number, or one of each column")
        if not math.isfinite(value):
            raise InputError(f"{name}={value}: must be finite")
        if value < 0:
            raise InputError(f"{name}={value}: must be at least 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _are_numbers(values: Any) -> bool:
    # Checked here, as OmegaConf refuses whole numbers in a mapping to typed lists of floats.
    return (
        not isinstance(values, str | Mapping)
        and isinstance(values, Iterable)
        and all(_is_number(value) for value in values)
    )
