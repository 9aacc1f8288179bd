"""Values of rows of text."""

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
        rows: how many there are.
        columns: names of all columns, in order.
        names: of the columns to parse.
        texts: names of those that hold text.
        delimiter: what separates columns; None for blanks.

    Returns:
        (rows,) double-precision numbers, NaN where they are missing, or strings, of each column.

    Raises:
        ValueError: a value is no number, or a row has not enough columns.
    """
    found = _by_arrow(block, columns, names, texts, delimiter)
    if found is not None and len(found[0]) == rows:
        return dict(zip(names, found, strict=True))
    text = _decoded(block)
    numbers = [name for name in names if name not in texts]
    parsed = _numbers(text, columns, numbers, delimiter) if numbers else {}
    for name in texts:
        parsed[name] = _load(text, [columns.index(name)], delimiter, dtype=np.str_)[:, 0]
    return {name: parsed[name] for name in names}


def _numbers(
    text: str, columns: Sequence[str], names: Sequence[str], delimiter: str | None
) -> dict[str, np.ndarray]:
    indices = [columns.index(name) for name in names]
    try:
        table = _load(text, indices, delimiter)
    except ValueError:
        # Something is missing or wrong: find out what.
        converters = {i: _number(name) for i, name in zip(indices, names, strict=True)}
        try:
            table = _load(text, indices, delimiter, converters=converters)
        except ValueError as error:
            # The cause is what a converter raised; it names the column.
            raise ValueError(str(error.__cause__ or error)) from error
    return {name: table[:, i] for i, name in enumerate(names)}


def _load(text: str, indices: list[int], delimiter: str | None, **options: Any) -> np.ndarray:
    return np.loadtxt(
        StringIO(text, newline=""),
        delimiter=delimiter,
        comments=None,
        quotechar='"',
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
    """The same in a fraction of the time, where pyarrow is installed and understands it all."""
    if delimiter is None:
        return None
    try:
        arrow = importlib.import_module("pyarrow")
        reader = importlib.import_module("pyarrow.csv")
    except ImportError:
        return None
    numbers = [str(i) for i in range(len(columns))]  # names that are unique
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
        text = text.strip().lower()
        if text in MISSING:
            return np.nan
        try:
            return LOGICAL[text] if text in LOGICAL else float(text)
        except ValueError:
            raise ValueError(f"column {name!r} is not numeric, it holds {text!r}") from None

    return convert


def _decoded(block: bytes) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("latin-1")
