"""Finds the columns of the file that a catalog needs, before any column is read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdescent_dist.catalogs.grammar import entries_in, quote
from kdescent_dist.catalogs.readers import Table
from kdescent_dist.catalogs.regions import REGIONS, option_of
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.config.validation import check_expression


@dataclass(frozen=True)
class Plan:
    """The expressions to compute, and the columns of the file that they use.

    Attributes:
        derived: names to expressions of file columns.
        where: a boolean expression of derived and file columns, or None.
        weights: an expression of derived and file columns, or None.
        entries: the file columns, each with the used entry of a vector column or None.
    """

    derived: dict[str, str]
    where: str | None
    weights: str | None
    entries: frozenset[tuple[str, int | None]]


def make_plan(
    config: CatalogConfig, required: Sequence[str], table: Table, source: str, key: str
) -> Plan:
    """Find the file columns that the required columns, the selection and the weights need.

    Args:
        config: config of the catalog.
        required: names of the columns to return; ``REGIONS`` is the column of ``config.regions``.
        table: the table in the file.
        source: name of the file, for messages.
        key: the config key of ``config``, for messages.

    Raises:
        InputError: a column does not exist, several columns have the same name, or an expression
            is not valid.
    """
    names = table.names

    def no_column(name: str, known: Sequence[str]) -> str:
        text = f"no column {name!r} in {source}: "
        if (group := table.elsewhere(name)) is not None:
            return f"{text}{group} has it: set {key}.group={group}"
        return text + _hint(name, known, key)

    def expression(text: str, option: str) -> str:
        check_expression(f"{key}.{option}", text)
        # The text may be the name of a file column, even if it is not a Python identifier.
        return quote(text.strip()) if text.strip() in names else text

    for name in config.sentinel:
        if name not in names:
            raise InputError(f"{key}.sentinel.{name}: {no_column(name, names)}")
    derived: dict[str, str] = {}
    for name in required:
        if name == REGIONS and config.regions is not None:
            derived[name] = expression(config.regions, "regions")
            continue
        if name not in config.columns and name not in names:
            known = [*config.columns, *names]
            raise InputError(
                f"{key}: {no_column(name, known)} (or derive it in {key}.columns.{name})"
            )
        derived[name] = expression(config.columns.get(name, name), f"columns.{name}")
    weights = config.weights
    if weights is None and config.make is not None and "weights" in names:
        weights = "weights"
    selectors = {"where": config.where, "weights": weights}
    selectors = {k: expression(text, k) for k, text in selectors.items() if text is not None}

    uses: dict[str, set[tuple[str, int | None]]] = {}
    for option, text in selectors.items():
        found = entries_in(text, f"{key}.{option}")
        for name, _ in found:
            if name in config.columns:
                derived.setdefault(name, expression(config.columns[name], f"columns.{name}"))
        uses[option] = {(name, entry) for name, entry in found if name not in derived}
    for name, text in derived.items():
        option = option_of(name)
        uses[option] = entries_in(text, f"{key}.{option}")
    for option, found in uses.items():
        for name, _ in sorted(found, key=str):
            if name not in names:
                raise InputError(f"{key}.{option}: {no_column(name, names)}")
            if names.count(name) > 1:
                raise InputError(
                    f"{key}: {names.count(name)} columns of {source} are named {name!r}"
                )
    entries = frozenset().union(*uses.values())
    return Plan(derived, selectors.get("where"), selectors.get("weights"), entries)


def _hint(name: str, known: Sequence[str], key: str) -> str:
    for other in known:
        group, _, last = other.rpartition("/")
        if group and last == name:
            return f"it has {other!r}: set {key}.group={group}"
        if other.lower() == name.lower():
            return f"did you mean {other}?"
        if not other.isidentifier() and name in re.split(r"\W+", other):
            return f"write {quote(other)} in backquotes?"
    return closest(name, known)
