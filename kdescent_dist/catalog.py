"""Catalogs: read the columns that a fit needs, select rows, derive columns, and check them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kdescent_dist.errors import InputError, closest
from kdescent_dist.expressions import entries_in, numeric, quote
from kdescent_dist.rows import Rows
from kdescent_dist.settings import CatalogConfig
from kdescent_dist.sources import open_source


@dataclass(frozen=True)
class Catalog:
    """Columns of equal length, all finite, with weights.

    Attributes:
        columns: names to (n,) float64 arrays.
        weights: (n,) non-negative float64 weights.
        dropped: rows that were left out, counted by the reason.
        source: where the catalog comes from.
    """

    columns: dict[str, np.ndarray]
    weights: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    source: str = ""

    def __len__(self) -> int:
        return len(self.weights)

    def select(self, mask: np.ndarray) -> "Catalog":
        """The rows of an (n,) boolean mask, or of an array of row numbers."""
        columns = {name: values[mask] for name, values in self.columns.items()}
        return replace(self, columns=columns, weights=self.weights[mask])

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """The named columns side by side, of shape (n, d).

        Raises:
            InputError: there is no such column.
        """
        for name in names:
            if name not in self.columns:
                raise InputError(
                    f"{self.source}: no column {name!r}: {closest(name, self.columns)}"
                )
        return np.stack([self.columns[name] for name in names], axis=1)


def load_catalog(
    config: CatalogConfig, *, required: Sequence[str], seed: int = 0, key: str = "catalog"
) -> Catalog:
    """Load a catalog.

    In this order: the needed columns are read; rows with a missing value (a sentinel) in them go;
    columns are derived; rows where ``config.where`` is false go; non-finite rows are refused, or
    go; a subsample is drawn.

    Args:
        config: where the catalog comes from, and what to do with it.
        required: names of the columns to return; each is derived in ``config.columns``, or is a
            column of the file.
        seed: of the random choice of a subsample.
        key: the config key of ``config``, for messages.

    Returns:
        The catalog, in the order of the file.

    Raises:
        InputError: names the key or the column at fault, and what to do.
    """
    if not required:
        raise InputError(f"{key}: none of its columns is used")
    source, read = open_source(config, key)
    plans: list[_Plan] = []

    def choose(names: list[str]) -> set[str]:
        plans.append(_plan(config, required, names, source, key))
        return {name for name, _ in plans[0].entries}

    raw = read(choose)
    plan = plans[0]
    table = {n: numeric(values, f"{key}: column {n!r} of {source}") for n, values in raw.items()}
    rows = Rows.of(table, source, key)
    for name, value in config.sentinel.items():
        if name in raw:
            missing = _missing(raw[name], value, [e for n, e in plan.entries if n == name])
            rows.drop(missing, f"{name} is {value:g} (missing)", f"sentinel.{name}={value:g}")

    derived = {
        name: rows.evaluate(expression, table, f"columns.{name}")
        for name, expression in plan.derived.items()
    }
    table |= derived
    if plan.where is not None:
        passed = rows.evaluate(plan.where, table, "where")
        if passed.dtype != np.bool_:
            raise InputError(f"{key}.where={config.where}: must be a comparison, such as x > 0")
        rows.drop(~passed, f"where is false: {config.where}", f"where={config.where}")
    columns = {name: derived[name].astype(np.float64) for name in required}
    weights = np.ones(len(rows.keep))
    if plan.weights is not None:
        weights = rows.evaluate(plan.weights, table, "weights").astype(np.float64)
    rows.drop_non_finite([*columns.items(), ("weights", weights)], allowed=config.drop_non_finite)
    chosen = rows.subsample(config.subsample, seed)
    catalog = Catalog(columns, weights, rows.dropped, source).select(chosen)
    _check(catalog, key)
    return catalog


def _check(catalog: Catalog, key: str) -> None:
    for name, values in catalog.columns.items():
        if values.min() == values.max():
            raise InputError(
                f"{key}: column {name!r} is {values[0]:g} in all {len(values)} rows: it has no "
                f"variance"
            )
    if negative := np.count_nonzero(catalog.weights < 0):
        raise InputError(f"{key}.weights: {negative} of {len(catalog)} rows are negative")
    if not catalog.weights.sum() > 0:
        raise InputError(f"{key}.weights: all {len(catalog)} rows are 0")


@dataclass(frozen=True)
class _Plan:
    """What to compute, and which (column, entry of a vector column) of the file that takes."""

    derived: dict[str, str]  # expressions of file columns
    where: str | None  # expressions of derived and file columns
    weights: str | None
    entries: set[tuple[str, int | None]]


def _plan(
    config: CatalogConfig, required: Sequence[str], names: list[str], source: str, key: str
) -> _Plan:
    """Find out what the required columns, the selection and the weights need of the file."""

    def expression(text: str) -> str:
        # The whole text may be the name of a file column, even where that is no identifier.
        return quote(text.strip()) if text.strip() in names else text

    for name in config.sentinel:
        if name not in names:
            raise InputError(f"{key}.sentinel.{name}: {_no_column(name, names, source, key)}")
    derived: dict[str, str] = {}
    for name in required:
        if name not in config.columns and name not in names:
            known = [*config.columns, *names]
            problem = _no_column(name, known, source, key)
            raise InputError(f"{key}: {problem} (or derive it in {key}.columns.{name})")
        derived[name] = expression(config.columns.get(name, name))
    weights = config.weights
    if weights is None and config.make is not None and "weights" in names:
        weights = "weights"
    selectors = {"where": config.where, "weights": weights}
    selectors = {k: expression(text) for k, text in selectors.items() if text is not None}

    uses: dict[str, set[tuple[str, int | None]]] = {}
    for option, text in selectors.items():
        found = entries_in(text, f"{key}.{option}")
        for name, _ in found:
            if name in config.columns:
                derived.setdefault(name, expression(config.columns[name]))
        uses[option] = {(name, entry) for name, entry in found if name not in derived}
    for name, text in derived.items():
        uses[f"columns.{name}"] = entries_in(text, f"{key}.columns.{name}")
    for option, found in uses.items():
        for name, _ in sorted(found, key=str):
            if name not in names:
                raise InputError(f"{key}.{option}: {_no_column(name, names, source, key)}")
    return _Plan(
        derived, selectors.get("where"), selectors.get("weights"), set().union(*uses.values())
    )


def _no_column(name: str, known: Sequence[str], source: str, key: str) -> str:
    text = f"no column {name!r} in {source}: "
    for other in known:
        group, _, last = other.rpartition("/")
        if group and last == name:
            return text + f"it has {other!r}: set {key}.group={group}"
        if not other.isidentifier() and name in re.split(r"\W+", other):
            return text + f"write {quote(other)} in backquotes?"
    return text + closest(name, known)


def _missing(values: np.ndarray, sentinel: float, entries: Sequence[int | None]) -> np.ndarray:
    """(n,) True where one of the entries that are used equals the sentinel value."""
    if values.ndim == 2:
        values = values[:, [e for e in entries if e is not None]]
    if np.isnan(sentinel):
        equal = np.isnan(values)
    elif values.dtype.kind == "f":
        # Compared as it was written: -99.9 is another number in single precision.
        with np.errstate(over="ignore"):
            equal = values == np.asarray(sentinel).astype(values.dtype)
    else:
        equal = values == sentinel
    return np.any(equal, axis=1) if values.ndim == 2 else np.asarray(equal)
