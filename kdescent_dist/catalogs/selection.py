"""How rows of a table become rows of a catalog, one range of rows after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdescent_dist.catalogs.column_statistics import ColumnRanges
from kdescent_dist.catalogs.derivation import Derivation
from kdescent_dist.catalogs.drop_reasons import DropReasons
from kdescent_dist.catalogs.grammar import entries_in, plain_column
from kdescent_dist.catalogs.missing import missing, sentinels
from kdescent_dist.catalogs.plan import Plan
from kdescent_dist.catalogs.readers import Columns
from kdescent_dist.catalogs.scratch import Scratch, in_memory_order, taken, write
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.numerics.arrays import check_integers

Reserve = Callable[[int], Sequence[np.ndarray] | None]


@dataclass(frozen=True)
class Selected:
    """What is left of a range of rows.

    Attributes:
        arrays: (n,) values of each column in the order of ``Selection.required``; and of the
            weights, where they are not all 1. Some are not yet in the type of the catalog.
        tally: counts of rows, see ``DropReasons``.
        ranges: of the arrays.
    """

    arrays: list[np.ndarray]
    tally: np.ndarray
    ranges: ColumnRanges


@dataclass(frozen=True)
class _Left:
    """The rows that are left of a range.

    Attributes:
        files: columns of the file, with all rows of the range.
        early: columns that ``where`` needs, with all rows of the range.
        rows: numbers of the rows that are left; None where these are all rows.
        count: how many are left.
    """

    files: Columns
    early: Columns
    rows: np.ndarray | None
    count: int


class Selection:
    """How rows of a table become rows of a catalog: the same for each range of rows.

    Rows go through four stages, each a function of columns: what is missing, ``where``, the
    columns to return, and what is not finite. A column may be made in its place at once.

    Attributes:
        required: names of the columns that are returned.
        weighted: whether rows have weights.
        reasons: why rows are left out.
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
        """Plan the selection.

        Args:
            config, required, key, dtype, exact: see ``catalog.open_catalog``.
            plan: which columns of the file are needed, and for what.
            source: name of the table, for messages.
        """
        self._config, self._plan, self._source, self._key = config, plan, source, key
        self._dtype, self._exact = dtype, [name for name in required if name in exact]
        self._derivation = Derivation(source, key)
        self.required, self.weighted = list(required), plan.weights is not None
        used = {name for name, _ in plan.entries}
        self._sentinels = [(n, v) for n, v in sentinels(config.sentinel, key) if n in used]
        self.reasons = DropReasons(
            self._sentinels,
            None if plan.where is None else config.where,
            required,
            drop_non_finite=config.drop_non_finite,
            source=source,
            key=key,
            dtype=dtype,
        )
        # Columns that ``where`` needs are made of all rows, the others of those that are left.
        where, weights = (
            set() if text is None else {name for name, _ in entries_in(text)}
            for text in (plan.where, plan.weights)
        )
        self._early = {name: text for name, text in plan.derived.items() if name in where}
        self._late = {name: text for name, text in plan.derived.items() if name not in where}
        of_late = {name for text in self._late.values() for name, _ in entries_in(text)}
        self._files_left = of_late | weights - plan.derived.keys()
        # Columns that are returned as they are in the file, by their names there.
        texts = {name: plain_column(self._late[name]) for name in required if name in self._late}
        self._returned_as = {text: name for name, text in texts.items() if text is not None}

    @property
    def arrays(self) -> int:
        """How many arrays are returned: of the columns, and of the weights if there are."""
        return len(self.required) + self.weighted

    def apply(
        self, raw: Columns, scratch: Scratch, reserve: Reserve = lambda rows: None
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
        files = {name: in_memory_order(values) for name, values in raw.items()}
        keep, counts = self._without_missing(files)
        left, more = self._where(files, keep, scratch)
        if self._config.drop_non_finite:  # which rows are left is known once columns are made
            arrays, ranges, non_finite = self._finite(self._made(left, {}, scratch))
            places = reserve(len(arrays[0]))
        else:
            places = reserve(left.count)
            into = dict(zip(self.required, places or (), strict=False))
            arrays, ranges, non_finite = self._finite(self._made(left, into, scratch))
        for name in self._exact:
            self._check_exact(name, arrays[self.required.index(name)])
        write(arrays, places)
        return Selected(arrays, np.array([*counts, *more, *non_finite], np.int64), ranges)

    def _without_missing(self, files: Columns) -> tuple[np.ndarray, list[int]]:
        """Which rows have all values, and how many went for each sentinel."""
        keep, counts = np.ones(len(next(iter(files.values()))), dtype=bool), []
        for name, value in self._sentinels:
            self._derivation.check_numeric(name, files)
            entries = [e for n, e in self._plan.entries if n == name]
            keep, dropped = _kept(keep, ~missing(files[name], value, entries))
            counts.append(dropped)
        return keep, counts

    def _where(self, files: Columns, keep: np.ndarray, scratch: Scratch) -> tuple[_Left, list[int]]:
        """The rows that are kept where ``where`` is true, and how many went, if there is one."""
        dropped: list[int] = []
        early = self._derivation.derived(self._early, files, len(keep), {}, scratch)
        if self._plan.where is not None:
            true = self._derivation.evaluated(
                self._plan.where, files | early, "where", len(keep), scratch
            )
            if true.dtype != np.bool_:
                raise InputError(
                    f"{self._key}.where={self._config.where}: must be a comparison, such as x > 0"
                )
            keep, number = _kept(keep, true)
            dropped.append(number)
        if keep.all():
            return _Left(files, early, None, len(keep)), dropped
        rows = np.flatnonzero(keep)  # faster than a mask for each column
        return _Left(files, early, rows, len(rows)), dropped

    def _made(
        self, left: _Left, into: Mapping[str, np.ndarray], scratch: Scratch
    ) -> list[np.ndarray]:
        """The columns to return and the weights.

        Args:
            left: the rows that are left.
            into: places of columns to return, which are filled where that is the fastest.
            scratch: memory for the others.
        """
        files, early = left.files, left.early
        if left.rows is not None:
            of_file = {file: into[name] for file, name in self._returned_as.items() if name in into}
            files = {name: files[name] for name in files if name in self._files_left}
            files = taken(files, left.rows, of_file, scratch, "")
            early = taken(early, left.rows, into, scratch, " (derived)")
        derived = early | self._derivation.derived(self._late, files, left.count, into, scratch)
        arrays = [derived[name] for name in self.required]
        if self._plan.weights is not None:
            table = files | derived
            arrays.append(
                self._derivation.evaluated(
                    self._plan.weights, table, "weights", left.count, scratch
                )
            )
        return arrays

    def _finite(self, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], ColumnRanges, list[int]]:
        """Drop rows that are not finite, if they may go.

        Returns:
            The arrays that are left; their ranges; and how many rows were not finite, in each
            column, in the weights, and in any of them. If rows may go, a row counts once.
        """
        drop, columns = self._config.drop_non_finite, len(self.required)
        ranges, counts = ColumnRanges.of(arrays, columns), [0] * (columns + 2)
        if not len(arrays[0]) or ranges.finite_in(self._dtype):
            return arrays, ranges, counts
        with np.errstate(over="ignore"):
            finite = [np.isfinite(values.astype(self._dtype, copy=False)) for values in arrays]
        keep = np.ones(len(arrays[0]), dtype=bool)
        for i, good in enumerate(finite):
            keep, dropped = _kept(keep, good)
            counts[i] = dropped if drop else int(np.count_nonzero(~good))
        counts[-1] = int(np.count_nonzero(~keep))
        if drop:
            arrays = [values[keep] for values in arrays]
        return arrays, ColumnRanges.of(arrays, columns), counts

    def _check_exact(self, name: str, values: np.ndarray) -> None:
        check_integers(
            values,
            self._dtype,
            f"{self._key}: column {name!r} of {self._source}",
            f"number them anew, subtract an offset in {self._key}.columns.{name}, or write "
            f"1.0*({self._plan.derived[name]}) there to have them rounded"
            + ("" if self._dtype == np.float64 else "; or set runtime.x64=true"),
        )


def _kept(keep: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, int]:
    """Of the rows that are kept, those that are good, and how many are not."""
    both = keep & good
    return both, int(np.count_nonzero(keep) - np.count_nonzero(both))
