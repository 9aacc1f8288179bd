"""Parquet files, and folders of them: of their row groups, those that overlap the rows are read."""

import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.errors import InputError
from kdescent_dist.readers.table import Columns, Table, optional


class ParquetTable(Table):
    """A file, a folder of files or a partitioned data set.

    What was decoded of a row group beyond the last row of a range is kept until the next range
    is read, so that ranges in order decode each row group once.
    """

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        self._arrow = optional("pyarrow", "Parquet", path, key)
        self._parquet = optional("pyarrow.parquet", "Parquet", path, key)
        self._compute = optional("pyarrow.compute", "Parquet", path, key)
        dataset = self._parquet.ParquetDataset(path)
        self._schema = dataset.schema
        self._key = key
        fragments = dataset.fragments
        self._groups = [(f, i) for f in fragments for i in range(f.metadata.num_row_groups)]
        rows = [f.metadata.row_group(i).num_rows for f, i in self._groups]
        self._starts: list[int] = [0, *accumulate(rows)]
        self._with_nulls: dict[str, bool] = {}
        self._rest: tuple[tuple[str, ...], int, Any] | None = None  # columns, first row, table
        self.names = list(dataset.schema.names)

    def lengths(self, names: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(names, self._starts[-1])

    def read(self, names: Sequence[str], first: int, last: int) -> Columns:
        last = min(last, self._starts[-1])
        first = min(first, last)
        columns = tuple(names)
        tables = []
        if self._rest is not None and self._rest[0] == columns:
            start, rest = self._rest[1:]
            if start <= first < start + rest.num_rows:
                tables.append(rest.slice(first - start))
        self._rest = None
        begin, decoded = first, first + sum(t.num_rows for t in tables)
        if decoded < last:
            low = bisect.bisect_right(self._starts, decoded) - 1
            high = bisect.bisect_left(self._starts, last)
            begin = begin if tables else self._starts[low]
            tables += self._decode(low, high, columns)
        if not tables:
            tables = [self._schema.empty_table().select(names)]
        table = self._arrow.concat_tables(tables)
        offset = first - begin
        if table.num_rows > offset + last - first:
            self._rest = columns, last, table.slice(offset + last - first)
        table = table.slice(offset, last - first)
        return {name: self._to_numpy(table[name], name) for name in names}

    def close(self) -> None:
        self._rest = None
        self._groups.clear()

    def _decode(self, low: int, high: int, names: Sequence[str]) -> list[Any]:
        """The tables of row groups ``low`` to ``high``, those of one file together."""
        wanted: list[tuple[Any, list[int]]] = []
        for fragment, i in self._groups[low:high]:
            if not wanted or wanted[-1][0] is not fragment:
                wanted.append((fragment, []))
            wanted[-1][1].append(i)
        return [
            fragment.subset(row_group_ids=ids).to_table(schema=self._schema, columns=list(names))
            for fragment, ids in wanted
        ]

    def _to_numpy(self, column: Any, name: str) -> np.ndarray:
        types = self._arrow.types
        kind = column.type
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            sizes = self._compute.unique(self._compute.list_value_length(column)).to_pylist()
            if len(sizes) > 1 or None in sizes:
                raise InputError(f"{self._key}: the lists of column {name!r} differ in length")
            values = self._compute.list_flatten(column).to_numpy()
            return values.reshape(len(column), sizes[0] if sizes else 0)
        # Null becomes NaN in an array of floats, and None in one of Python objects.
        values = column.to_numpy()
        if types.is_integer(kind) and self._has_nulls(name):
            return values.astype(np.float64, copy=False)
        return values

    def _has_nulls(self, name: str) -> bool:
        """Whether a column has nulls anywhere, which decides its type in every range."""
        if name not in self._with_nulls:
            self._with_nulls[name] = any(self._nulls(f, i, name) for f, i in self._groups)
        return self._with_nulls[name]

    def _nulls(self, fragment: Any, i: int, name: str) -> bool:
        group = fragment.metadata.row_group(i)
        for c in range(group.num_columns):
            column = group.column(c)
            if column.path_in_schema == name:
                statistics = column.statistics
                if statistics is not None and statistics.has_null_count:
                    return statistics.null_count > 0
        part = fragment.subset(row_group_ids=[i])
        return part.to_table(schema=self._schema, columns=[name])[name].null_count > 0
