"""Turns ranges of rows of a table into rows of a catalog."""

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
from kdescent_dist.catalogs.regions import option_of
from kdescent_dist.catalogs.scratch import Scratch, in_memory_order, taken, write
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import CatalogConfig
from kdescent_dist.numerics.arrays import check_integers

Reserve = Callable[[int], Sequence[np.ndarray] | None]


@dataclass(frozen=True)
class Selected:
    """The selected rows of a range.

    Attributes:
        arrays: (n,) values per column, in the order of ``Selection.required``; then the weights,
            if there are any. Some arrays are not yet in the type of the catalog.
        tally: counts of dropped rows, see ``DropReasons``.
        ranges: ranges of the arrays.
    """

    arrays: list[np.ndarray]
    tally: np.ndarray
    ranges: ColumnRanges


@dataclass(frozen=True)
class _Left:
    """The rows of a range that pass the sentinels and ``where``.

    Attributes:
        files: columns of the file, with all rows of the range.
        early: derived columns that ``where`` uses, with all rows of the range.
        rows: numbers of the rows that pass, None if all rows pass.
        count: number of rows that pass.
    """

    files: Columns
    early: Columns
    rows: np.ndarray | None
    count: int


class Selection:
    """Selects rows and derives columns, for one range of rows at a time.

    There are four stages: drop missing values, apply ``where``, derive the columns to return, and
    check or drop non-finite values. Columns may be written directly to their output arrays.

    Attributes:
        required: names of the returned columns.
        weighted: whether rows have weights.
        reasons: the reasons for dropping rows.
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
            plan: the expressions, and the columns of the file that they use.
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
        # Columns that ``where`` uses are derived for all rows, other columns for the rows left.
        where, weights = (
            set() if text is None else {name for name, _ in entries_in(text)}
            for text in (plan.where, plan.weights)
        )
        self._early = {name: text for name, text in plan.derived.items() if name in where}
        self._late = {name: text for name, text in plan.derived.items() if name not in where}
        of_late = {name for text in self._late.values() for name, _ in entries_in(text)}
        self._files_left = of_late | weights - plan.derived.keys()
        # Required columns that are columns of the file: names in the file to required names.
        texts = {name: plain_column(self._late[name]) for name in required if name in self._late}
        self._returned_as = {text: name for name, text in texts.items() if text is not None}

    @property
    def arrays(self) -> int:
        """Number of returned arrays: one per column, and one for the weights if there are any."""
        return len(self.required) + self.weighted

    def apply(
        self, raw: Columns, scratch: Scratch, reserve: Reserve = lambda rows: None
    ) -> Selected:
        """Select rows.

        Args:
            raw: names to columns of the file, in the type of the file.
            scratch: memory for the selected rows, valid until this thread's next call.
            reserve: called once with the number of selected rows, n; returns output arrays (n,)
                for the columns and the weights, or None to leave the rows in the scratch memory.

        Raises:
            InputError: a column is not numeric, an expression cannot be evaluated, or an integer
                of an ``exact`` column would be rounded.
        """
        files = {name: in_memory_order(values) for name, values in raw.items()}
        keep, counts = self._without_missing(files)
        left, more = self._where(files, keep, scratch)
        if self._config.drop_non_finite:  # the number of rows is known after the derivation
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
        """Which rows have no missing value, and the number of rows dropped per sentinel."""
        keep, counts = np.ones(len(next(iter(files.values()))), dtype=bool), []
        for name, value in self._sentinels:
            self._derivation.check_numeric(name, files)
            entries = [e for n, e in self._plan.entries if n == name]
            keep, dropped = _kept(keep, ~missing(files[name], value, entries))
            counts.append(dropped)
        return keep, counts

    def _where(self, files: Columns, keep: np.ndarray, scratch: Scratch) -> tuple[_Left, list[int]]:
        """The kept rows where ``where`` is true, and the number of dropped rows if it is set."""
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
        rows = np.flatnonzero(keep)  # indices are faster than a mask for several columns
        return _Left(files, early, rows, len(rows)), dropped

    def _made(
        self, left: _Left, into: Mapping[str, np.ndarray], scratch: Scratch
    ) -> list[np.ndarray]:
        """The columns to return and the weights.

        Args:
            left: the rows to return.
            into: output arrays by column name; an output array is filled only if that is faster.
            scratch: memory for the other columns.
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
        """Find non-finite rows, and drop them if ``drop_non_finite`` is set.

        Returns:
            The arrays; their ranges; and the numbers of non-finite rows: per column, for the
            weights, and in total. If rows are dropped, each row counts for one column only.
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
            f"number them anew, subtract an offset in {self._key}.{option_of(name)}, or write "
            f"1.0*({self._plan.derived[name]}) there to have them rounded"
            + ("" if self._dtype == np.float64 else "; or set runtime.x64=true"),
        )


def _kept(keep: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, int]:
    """The kept rows that are good, and the number of kept rows that are not good."""
    both = keep & good
    return both, int(np.count_nonzero(keep) - np.count_nonzero(both))
