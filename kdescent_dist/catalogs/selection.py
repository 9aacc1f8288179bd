"""Which rows of a table are left and why the others are not, found in one range after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.catalogs.column_statistics import ColumnRanges
from kdescent_dist.catalogs.expressions import check_numeric, evaluate
from kdescent_dist.catalogs.grammar import entries_in, plain_column
from kdescent_dist.catalogs.plan import Plan
from kdescent_dist.catalogs.threads import Scratch, gather
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.numerics.arrays import check_integers

Reserve = Callable[[int], Sequence[np.ndarray] | None]


@dataclass(frozen=True)
class Selected:
    """What is left of a range of rows.

    Attributes:
        arrays: (n,) values of each column in the order of ``Selection.required``; and of the
            weights, where they are not all 1. Some are not yet in double precision.
        tally: counts of rows, which ``Selection.dropped`` tells apart; those of ranges add up.
        ranges: of the arrays.
    """

    arrays: list[np.ndarray]
    tally: np.ndarray
    ranges: ColumnRanges


class Selection:
    """How rows of a table become rows of a catalog: the same for each range of rows.

    Attributes:
        required: names of the columns that are returned.
        weighted: whether rows have weights.
    """

    def __init__(
        self,
        config: CatalogConfig,
        plan: Plan,
        required: Sequence[str],
        source: str,
        key: str,
        dtype: np.dtype,
        exact: Sequence[str],
    ) -> None:
        """Plan the selection; ``dtype`` and ``exact`` are those of ``catalog.open_catalog``."""
        self._config, self._plan, self._source, self._key = config, plan, source, key
        self._dtype, self._exact = dtype, [name for name in required if name in exact]
        self.required, self.weighted = list(required), plan.weights is not None
        used = {name for name, _ in plan.entries}
        values = {
            n: _sentinels(given, f"{key}.sentinel.{n}") for n, given in config.sentinel.items()
        }
        self._sentinels = [(n, value) for n in values if n in used for value in values[n]]
        # What drops rows, in this order: (reason, config option).
        texts = [(n, str(v) if isinstance(v, int) else f"{v:g}") for n, v in self._sentinels]
        self._steps = [(f"{n} is {text} (missing)", f"sentinel.{n}={text}") for n, text in texts]
        if plan.where is not None:
            self._steps.append((f"where is false: {config.where}", f"where={config.where}"))
        self._checked = [*self.required, "weights"]
        # Columns that the selection needs are made of all rows, the others of those that are left.
        where = set() if plan.where is None else {name for name, _ in entries_in(plan.where)}
        self._early = {name: text for name, text in plan.derived.items() if name in where}
        self._late = {name: text for name, text in plan.derived.items() if name not in where}
        late = [*self._late.values(), *([plan.weights] if plan.weights is not None else [])]
        # Where columns are returned, by their names and, of those that are a column of the file,
        # by that.
        self._place_of = {name: i for i, name in enumerate(self.required)}
        texts = {name: self._late[name] for name in self.required if name in self._late}
        files = {plain_column(text): self._place_of[name] for name, text in texts.items()}
        self._place_of_file = {name: i for name, i in files.items() if name is not None}
        self._left_over = {name for text in late for name, _ in entries_in(text)}

    def apply(
        self, raw: Mapping[str, np.ndarray], scratch: Scratch, reserve: Reserve = lambda rows: None
    ) -> Selected:
        """Select rows.

        Args:
            raw: the file columns of the plan by name, as they are in the file.
            scratch: memory for what is selected, which may be in it until this thread's next call.
            reserve: called once with the number of rows that are left, n; returns arrays (n,) to
                fill with the columns and the weights, or None to leave them in the scratch.

        Raises:
            InputError: a column is not numeric, an expression cannot be evaluated, or an integer
                would be rounded where that is not allowed.
        """
        raw = {name: _in_memory_order(values) for name, values in raw.items()}
        rows = len(next(iter(raw.values())))
        keep, dropped = np.ones(rows, dtype=bool), []
        for name, value in self._sentinels:
            self._check_numeric(name, raw)
            entries = [e for n, e in self._plan.entries if n == name]
            dropped.append(_drop(keep, _missing(raw[name], value, entries)))
        derived = self._derive(self._early, raw, rows, scratch)
        if self._plan.where is not None:
            passed = self._evaluate(self._plan.where, raw | derived, "where", rows, scratch)
            if passed.dtype != np.bool_:
                raise InputError(
                    f"{self._key}.where={self._config.where}: must be a comparison, such as x > 0"
                )
            dropped.append(_drop(keep, ~passed))
        left = None if keep.all() else np.flatnonzero(keep)  # faster than a mask for each column
        rows = rows if left is None else len(left)
        # Rows that are not finite are found only in what is left.
        places = None if self._config.drop_non_finite else reserve(rows)
        if left is not None:

            def gathered(slot: str, values: np.ndarray, i: int | None) -> np.ndarray:
                place = None if places is None or i is None else places[i]
                if place is None or values.ndim > 1 or place.dtype != values.dtype:
                    return scratch.take(slot, values, left)
                return gather(values, left, place)

            raw = {
                name: gathered(name, values, self._place_of_file.get(name))
                for name, values in raw.items()
                if name in self._left_over
            }
            derived = {
                name: gathered(f"{name} (derived)", values, self._place_of.get(name))
                for name, values in derived.items()
            }
        derived |= self._derive(self._late, raw, rows, scratch, places)
        arrays = [derived[name] for name in self.required]
        if self._plan.weights is not None:
            table = raw | derived
            arrays.append(self._evaluate(self._plan.weights, table, "weights", rows, scratch))
        ranges = ColumnRanges.of(arrays, len(self.required))
        non_finite = [0] * (len(self._checked) + 1)
        if len(arrays[0]) and not ranges.finite_in(self._dtype):
            arrays, non_finite = self._without_non_finite(arrays)
            ranges = ColumnRanges.of(arrays, len(self.required))
        for name in self._exact:
            self._check_exact(name, arrays[self._place_of[name]])
        if self._config.drop_non_finite:
            places = reserve(len(arrays[0]))
        with np.errstate(over="ignore"):
            for place, values in zip(places or [], arrays, strict=places is not None):
                if place is not values:
                    place[...] = values
        return Selected(arrays, np.array([*dropped, *non_finite], np.int64), ranges)

    @property
    def arrays(self) -> int:
        """How many arrays are returned: of the columns, and of the weights if there are."""
        return len(self.required) + self.weighted

    @property
    def counts(self) -> int:
        """The length of a tally."""
        return len(self._steps) + len(self._checked) + 1

    def dropped(self, tally: np.ndarray, rows: int) -> dict[str, int]:
        """Rows that were left out, counted by the reason; a row counts once.

        Args:
            tally: of all rows.
            rows: how many rows the table has.

        Raises:
            InputError: no rows are left, or values are not finite and that is not allowed.
        """
        dropped: dict[str, int] = {}
        left, steps = rows, list(self._steps)
        counts, non_finite = tally[: len(steps)].tolist(), tally[len(steps) :].tolist()
        if self._config.drop_non_finite:
            counts += non_finite[:-1]
            steps += [(f"{n} is not finite", "drop_non_finite=true") for n in self._checked]
        for (reason, option), count in zip(steps, counts, strict=True):
            if count == left:
                raise InputError(
                    f"{self._key}.{option}: drops all {left} rows that were left of {self._source}"
                )
            if count:
                dropped[reason] = dropped.get(reason, 0) + count
            left -= count
        if non_finite[-1] and not self._config.drop_non_finite:
            bad = zip(self._checked, non_finite[:-1], strict=True)
            text = ", ".join(f"{name} in {count}" for name, count in bad if count)
            raise InputError(
                f"{self._key}: {non_finite[-1]} of {left} rows have a NaN or infinite value "
                f"({text}): set {self._key}.drop_non_finite=true to drop them; {self._dtype} holds "
                f"values up to {np.finfo(self._dtype).max:.2g}"
            )
        return dropped

    def _derive(
        self,
        expressions: Mapping[str, str],
        raw: Mapping[str, np.ndarray],
        rows: int,
        scratch: Scratch,
        places: Sequence[np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        def place(name: str) -> np.ndarray | None:
            return places[self._place_of[name]] if places and name in self._place_of else None

        return {
            name: self._evaluate(text, raw, f"columns.{name}", rows, scratch, place(name))
            for name, text in expressions.items()
        }

    def _evaluate(
        self,
        expression: str,
        table: Mapping[str, np.ndarray],
        option: str,
        rows: int,
        scratch: Scratch,
        into: np.ndarray | None = None,
    ) -> np.ndarray:
        name = plain_column(expression)
        if name is not None:
            self._check_numeric(name, table)
        if name is not None and table[name].ndim == 1:
            return table[name]  # widened where it is used: it may be long
        values = evaluate(expression, table, f"{self._key}.{option}", scratch.converted, into)
        return values if values.ndim else np.broadcast_to(values, (rows,))

    def _check_numeric(self, name: str, table: Mapping[str, np.ndarray]) -> None:
        check_numeric(table[name], f"{self._key}: column {name!r} of {self._source}")

    def _check_exact(self, name: str, values: np.ndarray) -> None:
        check_integers(
            values,
            self._dtype,
            f"{self._key}: column {name!r} of {self._source}",
            f"number them anew, subtract an offset in {self._key}.columns.{name}, or write "
            f"1.0*({self._plan.derived[name]}) there to have them rounded"
            + ("" if self._dtype == np.float64 else "; or set runtime.x64=true"),
        )

    def _without_non_finite(self, columns: list[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
        """Drop rows if that is allowed; how many in each column, and in any of them."""
        counts = [0] * (len(self._checked) + 1)
        with np.errstate(over="ignore"):
            finite = [np.isfinite(values.astype(self._dtype, copy=False)) for values in columns]
        keep = np.ones(len(columns[0]), dtype=bool)
        for i, good in enumerate(finite):
            bad = np.count_nonzero(~good)
            dropped = _drop(keep, ~good)
            counts[i] = dropped if self._config.drop_non_finite else int(bad)
        counts[-1] = int(np.count_nonzero(~keep))
        if self._config.drop_non_finite:
            columns = [values[keep] for values in columns]
        return columns, counts


def _sentinels(given: Any, option: str) -> list[float]:
    """The values that stand for "missing", of one or a list of them."""
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    values = []
    for value in several:
        try:
            # Integers as they are: identifiers may have more digits than double precision.
            values.append(value if type(value) is int else float(value))
        except (TypeError, ValueError):
            raise InputError(f"{option}={given}: must be a number, or a list of numbers") from None
    return values


def _drop(keep: np.ndarray, bad: np.ndarray) -> int:
    """Take rows from those that are kept; returns how many."""
    before = np.count_nonzero(keep)
    keep &= ~bad
    return int(before - np.count_nonzero(keep))


def _in_memory_order(values: np.ndarray) -> np.ndarray:
    """A column as one piece in native byte order; vectors stay as they are, for few are used."""
    if values.ndim > 1:
        return values
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _missing(values: np.ndarray, sentinel: float, entries: Sequence[int | None]) -> np.ndarray:
    """(n,) True where one of the entries that are used equals the sentinel value."""
    if values.ndim == 2:
        size = values.shape[1]  # an entry beyond it is refused where it is evaluated
        values = values[:, [e for e in entries if e is not None and -size <= e < size]]
    if np.isnan(sentinel):
        equal = np.isnan(values)
    elif values.dtype.kind == "f":
        # Compared as it was written: -99.9 is another number in single precision.
        with np.errstate(over="ignore"):
            equal = values == np.asarray(sentinel).astype(values.dtype)
    else:
        equal = values == (int(sentinel) if float(sentinel).is_integer() else sentinel)
    return np.any(equal, axis=1) if values.ndim == 2 else np.asarray(equal)
