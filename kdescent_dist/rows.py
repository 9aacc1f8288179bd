"""Which rows of a table are left, and why the others are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kdescent_dist.errors import InputError
from kdescent_dist.expressions import evaluate


@dataclass
class Rows:
    """The selection of rows, which only ever shrinks.

    Attributes:
        keep: (n,) True for rows that are left.
        source: where the table comes from, for messages.
        key: prefix of config keys, for messages.
        dropped: rows that were dropped, counted by the reason; a row counts once.
    """

    keep: np.ndarray
    source: str
    key: str
    dropped: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, np.ndarray], source: str, key: str) -> "Rows":
        """All rows of a table.

        Raises:
            InputError: its columns differ in length, or it is empty.
        """
        lengths = {name: len(values) for name, values in table.items()}
        if len(set(lengths.values())) > 1:
            text = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"{key}: the columns of {source} differ in their rows: {text}")
        if not (size := next(iter(lengths.values()), 0)):
            raise InputError(f"{key}: {source} has no rows")
        return cls(np.ones(size, dtype=bool), source, key)

    def evaluate(self, expression: str, table: Mapping[str, np.ndarray], option: str) -> np.ndarray:
        """Evaluate an expression on all rows, of shape (n,)."""
        values = evaluate(expression, table, f"{self.key}.{option}")
        return np.broadcast_to(values, self.keep.shape)

    def drop(self, bad: np.ndarray, reason: str, option: str) -> None:
        """Drop rows.

        Args:
            bad: (n,) True for rows to drop.
            reason: what to count them under.
            option: the config option that asks for it, for messages.

        Raises:
            InputError: no rows are left.
        """
        before = np.count_nonzero(self.keep)
        self.keep &= ~bad
        count = before - np.count_nonzero(self.keep)
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + int(count)
        if count == before:
            raise InputError(
                f"{self.key}.{option}: drops all {before} rows that were left of {self.source}"
            )

    def drop_non_finite(self, columns: Sequence[tuple[str, np.ndarray]], *, allowed: bool) -> None:
        """Drop rows with NaN or infinite values, or refuse them.

        Raises:
            InputError: there are any and it is not allowed; or no rows are left.
        """
        bad = {name: self.keep & ~np.isfinite(values) for name, values in columns}
        counts = {name: int(np.count_nonzero(b)) for name, b in bad.items()}
        if any(counts.values()) and not allowed:
            total = np.count_nonzero(np.any(list(bad.values()), axis=0))
            text = ", ".join(f"{name} in {count}" for name, count in counts.items() if count)
            raise InputError(
                f"{self.key}: {total} of {np.count_nonzero(self.keep)} rows have a NaN or infinite "
                f"value ({text}): set {self.key}.drop_non_finite=true to drop them"
            )
        for name, b in bad.items():
            self.drop(b, f"{name} is not finite", "drop_non_finite=true")

    def subsample(self, size: int | None, seed: int) -> np.ndarray:
        """Numbers of the rows that are left, or of some of them drawn at random, in order.

        Raises:
            InputError: there are not that many.
        """
        left = np.flatnonzero(self.keep)
        if size is None:
            return left
        if not 1 <= size <= len(left):
            raise InputError(
                f"{self.key}.subsample={size}: must be between 1 and {len(left)}, the rows that "
                f"are left of {self.source}"
            )
        if size < len(left):
            self.dropped["not in the subsample"] = len(left) - size
        return np.sort(np.random.default_rng(seed).choice(left, size, replace=False))
