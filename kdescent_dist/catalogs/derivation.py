"""Columns derived from the columns of a file, for a range of rows."""

from collections.abc import Mapping

import numpy as np

from kdescent_dist.catalogs.expressions import check_numeric, evaluate
from kdescent_dist.catalogs.grammar import plain_column
from kdescent_dist.catalogs.readers import Columns
from kdescent_dist.catalogs.regions import option_of
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
        """Derive columns.

        Args:
            expressions: names of the derived columns to expressions.
            table: (n,) or (n, m) columns that the expressions use.
            rows: number of rows of the table, n.
            into: output arrays by column name; an output array is filled only if that is faster.
            scratch: memory for converted columns.

        Raises:
            InputError: an expression cannot be evaluated, or uses a column that is not numeric.
        """
        return {
            name: self.evaluated(text, table, option_of(name), rows, scratch, into.get(name))
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
        """(n,) values of one expression; see ``derived`` for the arguments.

        If the expression is a column of the table, the column is returned in its own type.
        """
        name = plain_column(expression)
        if name is not None:
            self.check_numeric(name, table)
        if name is not None and table[name].ndim == 1:
            return table[name]  # not converted to double precision here, which would copy it
        values = evaluate(expression, table, f"{self._key}.{option}", scratch.converted, into)
        return values if values.ndim else np.broadcast_to(values, (rows,))

    def check_numeric(self, name: str, table: Columns) -> None:
        """Check that a column holds numbers.

        Raises:
            InputError: the column does not.
        """
        check_numeric(table[name], f"{self._key}: column {name!r} of {self._source}")
