"""Columns that are derived from those of a file, for a range of rows."""

from collections.abc import Mapping

import numpy as np

from kdescent_dist.catalogs.expressions import check_numeric, evaluate
from kdescent_dist.catalogs.grammar import plain_column
from kdescent_dist.catalogs.readers import Columns
from kdescent_dist.catalogs.scratch import Scratch


class Derivation:
    """Evaluates the expressions of a config.

    Args:
        source: name of the table, for messages.
        key: prefix of the config keys, for messages.
    """

    def __init__(self, source: str, key: str) -> None:
        self._source, self._key = source, key

    def derived(
        self,
        expressions: Mapping[str, str],
        table: Columns,
        rows: int,
        into: Mapping[str, np.ndarray],
        scratch: Scratch,
    ) -> Columns:
        """Columns by expressions.

        Args:
            expressions: by the names of the columns to make.
            table: (n,) or (n, m) columns that the expressions use.
            rows: how many rows the table has, n.
            into: places of columns to make, which are filled where that is the fastest.
            scratch: memory for columns that are converted.

        Raises:
            InputError: an expression cannot be evaluated, or a column of it is not numeric.
        """
        return {
            name: self.evaluated(text, table, f"columns.{name}", rows, scratch, into.get(name))
            for name, text in expressions.items()
        }

    def evaluated(
        self,
        expression: str,
        table: Columns,
        option: str,
        rows: int,
        scratch: Scratch,
        into: np.ndarray | None = None,
    ) -> np.ndarray:
        """(n,) values of one expression; the arguments are those of ``derived``.

        A column of the table is returned as it is, in its own type.
        """
        name = plain_column(expression)
        if name is not None:
            self.check_numeric(name, table)
        if name is not None and table[name].ndim == 1:
            return table[name]  # widened where it is used: it may be long
        values = evaluate(expression, table, f"{self._key}.{option}", scratch.converted, into)
        return values if values.ndim else np.broadcast_to(values, (rows,))

    def check_numeric(self, name: str, table: Columns) -> None:
        """Check that a column holds numbers.

        Raises:
            InputError: it does not.
        """
        check_numeric(table[name], f"{self._key}: column {name!r} of {self._source}")
