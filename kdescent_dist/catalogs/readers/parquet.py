"""Parquet files and folders of Parquet files; only row groups with requested rows are read."""

import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.catalogs.readers.hats import KEYS, find_hats
from kdescent_dist.catalogs.readers.table import Columns, Reader, optional
from kdescent_dist.config.errors import InputError


class ParquetTable(Reader):
    """A file, a folder of files or a partitioned dataset, whose partition keys are columns.

    The files of a folder and its subfolders are read in the order of their paths. A column is null
    in files that lack the column. In a HATS catalog, only the partitions are read, and their number
    of rows must match the properties.

    Decoded rows after the end of a range are kept until the next call of ``read``. So consecutive
    ranges decode each row group once.
    """

    format = "parquet"
    suffixes = (".parquet", ".pq", ".parq")
    takes_folder = True

    def __init__(self, path: Path, group: str | None, key: str) -> None:
        self._arrow = optional("pyarrow", "Parquet", path, key)
        self._parquet = optional("pyarrow.parquet", "Parquet", path, key)
        self._compute = optional("pyarrow.compute", "Parquet", path, key)
        dataset = optional("pyarrow.dataset", "Parquet", path, key)
        hats = find_hats(path, key) if path.is_dir() else None
        files = _files(path, key)
        if hats is not None:
            files = hats.partitions(files, key)
        # A HATS catalog may also have the partition keys as columns, of other types.
        names = set() if hats is None else set(self._parquet.read_schema(files[0]).names)
        found = dataset.dataset(
            [str(file) for file in files],
            format="parquet",
            partitioning=None if names & set(KEYS) else "hive",
            partition_base_dir=str(path) if path.is_dir() else None,
        )
        fragments = list(found.get_fragments())
        self._schema = self._schema_of(found.schema, fragments)
        self._key = key
        self._groups = [(f, i) for f in fragments for i in range(f.metadata.num_row_groups)]
        rows = [f.metadata.row_group(i).num_rows for f, i in self._groups]
        self._starts: list[int] = [0, *accumulate(rows)]
        if hats is not None:
            hats.check(len(files), self._starts[-1], key)
        self._with_nulls: dict[str, bool] = {}
        self._rest: tuple[tuple[str, ...], int, Any] | None = None  # columns, first row, table
        self.names = list(self._schema.names)

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

    def _schema_of(self, schema: Any, fragments: list[Any]) -> Any:
        """The union of the columns of all files; types are promoted to a common type."""
        fields = {field.name: field for field in schema}
        if len(fields) < len(schema):
            return schema  # a duplicate name raises if the column is used
        for fragment in fragments[1:]:
            for field in fragment.physical_schema:
                known = fields.get(field.name, field)
                if known.type != field.type:
                    known = self._common(known, field)
                fields[field.name] = known
        return self._arrow.schema(list(fields.values()))

    def _common(self, one: Any, other: Any) -> Any:
        schemas = [self._arrow.schema([one]), self._arrow.schema([other])]
        try:
            return self._arrow.unify_schemas(schemas, promote_options="permissive").field(0)
        except (self._arrow.ArrowInvalid, self._arrow.ArrowTypeError):
            return one  # reading the column raises

    def _decode(self, low: int, high: int, names: Sequence[str]) -> list[Any]:
        """Row groups ``low`` to ``high`` (excluded) as tables, one table per file."""
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
        types, kind = self._arrow.types, column.type
        if types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            return self._vectors(column, name)
        if types.is_decimal(kind):  # by way of text; a direct cast to float64 rounds differently
            column = column.cast(self._arrow.string())
        if types.is_decimal(kind) or (types.is_boolean(kind) and self._has_nulls(name)):
            column = column.cast(self._arrow.float64())
        # Null becomes NaN in an array of floats, and None in an array of Python objects.
        values = column.to_numpy()
        if types.is_integer(kind) and self._has_nulls(name):
            return values.astype(np.float64, copy=False)
        return values

    def _vectors(self, column: Any, name: str) -> np.ndarray:
        """Lists of equal length as rows of a matrix; a null list becomes a row of NaN."""
        compute = self._compute
        present = compute.is_valid(column).to_numpy()
        sizes = compute.unique(compute.list_value_length(column.drop_null())).to_pylist()
        if len(sizes) > 1:
            raise InputError(f"{self._key}: the lists of column {name!r} differ in length")
        size = sizes[0] if sizes else 0
        values = compute.list_flatten(column.drop_null()).to_numpy()
        values = values.reshape(int(present.sum()), size)
        if present.all():
            return values
        padded = np.full((len(present), size), np.nan)
        padded[present] = values
        return padded

    def _has_nulls(self, name: str) -> bool:
        """Whether a column has nulls anywhere in the file, which decides its NumPy type."""
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


def _files(path: Path, key: str) -> list[Path]:
    """The file, or all files below a folder with a suffix of Parquet files."""
    if not path.is_dir():
        return [path]
    below = (p for p in path.rglob("*") if p.name.lower().endswith(ParquetTable.suffixes))
    hidden = (".", "_")
    files = [
        p
        for p in below
        if p.is_file() and not any(q.startswith(hidden) for q in p.relative_to(path).parts)
    ]
    if not files:
        raise InputError(
            f"{key}.path={path}: the folder holds no files named "
            f"*{', *'.join(ParquetTable.suffixes)}"
        )
    return sorted(files)
