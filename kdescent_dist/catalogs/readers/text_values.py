"""Parses the values of rows of a CSV file."""

import csv
import importlib
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import numpy as np

MISSING = ("", "na", "n/a", "<na>", "null", "none", "nan", "-", "--")
LOGICAL = {"true": 1.0, "false": 0.0}


def is_missing(text: str) -> bool:
    return text.strip().lower() in MISSING


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in LOGICAL
    return True


def fields(line: str, delimiter: str | None) -> list[str]:
    """The values of a line."""
    return next(_csv(line, delimiter), [])


def parse(
    block: bytes,
    rows: int,
    columns: Sequence[str],
    names: Sequence[str],
    texts: Sequence[str],
    delimiter: str | None,
) -> dict[str, np.ndarray]:
    """Parse columns of a table.

    Args:
        block: the rows, without a header.
        rows: number of rows.
        columns: names of all columns, in order.
        names: names of the columns to parse.
        texts: names of the text columns.
        delimiter: the character that separates columns, None for blanks.

    Returns:
        (rows,) values per column: double-precision numbers, NaN for missing values, or strings.

    Raises:
        ValueError: a value is not a number, or a row has more or fewer values than columns.
    """
    found = _by_arrow(block, columns, names, texts, delimiter)
    if found is not None and len(found[0]) == rows:
        return dict(zip(names, found, strict=True))
    text = _decoded(block)
    if '"' in text:
        return _of_quoted(text, columns, names, texts, delimiter)
    _check_rows(text, len(columns), delimiter)
    numbers = [name for name in names if name not in texts]
    parsed = _numbers(text, columns, numbers, delimiter) if numbers else {}
    for name in texts:
        parsed[name] = _load(text, [columns.index(name)], delimiter, dtype=np.str_)[:, 0]
    return {name: parsed[name] for name in names}


def check_row(values: Sequence[str], columns: int) -> None:
    """Check that a row has one value per column; further values may be blank.

    Raises:
        ValueError: the row has more or fewer values.
    """
    if len(values) < columns or any(value.strip() for value in values[columns:]):
        raise ValueError(
            f"the header has {columns} names, and a row {len(values)} values: "
            f"{', '.join(values)[:80]}"
        )


def _check_rows(text: str, columns: int, delimiter: str | None) -> None:
    """Check the number of values in rows without quotes; np.loadtxt ignores extra values."""
    characters = np.frombuffer(text.encode(), np.uint8)
    line_ends = np.append(np.flatnonzero(characters == ord("\n")), len(characters))
    if delimiter is None:
        blank = np.append(True, np.isin(characters, np.frombuffer(b" \t\r\n", np.uint8)))
        counted, more = blank[:-1] & ~blank[1:], 0  # the first character of each word
    else:
        counted, more = characters == ord(delimiter), 1
    before = np.append(0, np.cumsum(counted))
    values = np.diff(before[line_ends], prepend=0) + more
    if np.all(values[:-1] == columns) and values[-1] in (more, columns):
        return
    for line in text.splitlines():
        if line.strip() or (line and delimiter):
            check_row(fields(line, delimiter), columns)


def _of_quoted(
    text: str,
    columns: Sequence[str],
    names: Sequence[str],
    texts: Sequence[str],
    delimiter: str | None,
) -> dict[str, np.ndarray]:
    """Like ``parse``, for rows with quotes, which may contain delimiters and line breaks."""
    rows = [row for row in _csv(text, delimiter) if row]
    for row in rows:
        check_row(row, len(columns))
    parsed = {}
    for name in names:
        i = columns.index(name)
        values = [row[i] for row in rows]
        if name in texts:
            parsed[name] = np.array(values, np.str_)
            continue
        try:
            parsed[name] = np.array(values, float)
        except ValueError:
            parsed[name] = np.array(list(map(_number(name), values)))
    return parsed


def _csv(text: str, delimiter: str | None) -> Any:
    lines: Any = StringIO(text, newline="")
    if delimiter is None:
        lines = (line.replace("\t", " ").strip() for line in text.splitlines())
    return csv.reader(lines, delimiter=delimiter or " ", skipinitialspace=True)


def _numbers(
    text: str, columns: Sequence[str], names: Sequence[str], delimiter: str | None
) -> dict[str, np.ndarray]:
    indices = [columns.index(name) for name in names]
    try:
        table = _load(text, indices, delimiter)
    except ValueError:
        # A value is missing or not a number: parse with converters, which are slower.
        converters = {i: _number(name) for i, name in zip(indices, names, strict=True)}
        try:
            table = _load(text, indices, delimiter, converters=converters)
        except ValueError as error:
            # The cause is the error of the converter, which names the column.
            raise ValueError(str(error.__cause__ or error)) from error
    return {name: table[:, i] for i, name in enumerate(names)}


def _load(text: str, indices: list[int], delimiter: str | None, **options: Any) -> np.ndarray:
    return np.loadtxt(
        StringIO(text, newline=""),
        delimiter=delimiter,
        comments=None,
        usecols=indices,
        ndmin=2,
        **options,
    )


def _by_arrow(
    block: bytes,
    columns: Sequence[str],
    names: Sequence[str],
    texts: Sequence[str],
    delimiter: str | None,
) -> list[np.ndarray] | None:
    """Like ``parse``, but faster; None if pyarrow is not installed or cannot parse the block."""
    if delimiter is None:
        return None
    try:
        arrow = importlib.import_module("pyarrow")
        reader = importlib.import_module("pyarrow.csv")
    except ImportError:
        return None
    numbers = [str(i) for i in range(len(columns))]  # unique, unlike names in a header
    wanted = {
        str(columns.index(n)): arrow.string() if n in texts else arrow.float64() for n in names
    }
    nulls = [form for text in MISSING for form in {text, text.upper(), text.title()}]
    try:
        table = reader.read_csv(
            arrow.BufferReader(block),
            reader.ReadOptions(column_names=numbers, use_threads=False),
            reader.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in block),
            reader.ConvertOptions(
                column_types=wanted, include_columns=list(wanted), null_values=nulls
            ),
        )
    except arrow.ArrowInvalid:
        return None
    return [table[number].to_numpy() for number in wanted]


def _number(name: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        lower = text.strip().lower()
        if lower in MISSING:
            return np.nan
        try:
            return LOGICAL[lower] if lower in LOGICAL else float(lower)
        except ValueError:
            found = text.strip()
            raise ValueError(f"column {name!r} is not numeric, it holds {found!r}") from None

    return convert


def _decoded(block: bytes) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("latin-1")
