"""Why rows are dropped from a catalog, and how many rows for each reason."""

from collections.abc import Sequence

import numpy as np

from kdescent_dist.config.errors import InputError


class DropReasons:
    """The reasons for which a selection drops rows, and the meaning of a tally.

    A tally is an array of ``size`` counts of rows; tallies of different rows add up. The entries
    are: dropped rows per sentinel; rows dropped by ``where``, if it is set; non-finite rows per
    column and for the weights; non-finite rows in total.
    """

    def __init__(
        self,
        sentinels: Sequence[tuple[str, float]],
        where: str | None,
        columns: Sequence[str],
        *,
        drop_non_finite: bool,
        source: str,
        key: str,
        dtype: np.dtype,
    ) -> None:
        """Name the reasons.

        Args:
            sentinels: pairs of a column and a value that stands for "missing".
            where: ``where`` of the config, or None.
            columns: names of the returned columns.
            drop_non_finite: whether rows with non-finite values are dropped, not refused.
            source: name of the table, for messages.
            key: prefix of the config keys, for messages.
            dtype: type in which values must be finite.
        """
        texts = [(n, str(v) if isinstance(v, int) else f"{v:g}") for n, v in sentinels]
        # (reason, config option)
        self._steps = [(f"{n} is {text} (missing)", f"sentinel.{n}={text}") for n, text in texts]
        if where is not None:
            self._steps.append((f"where is false: {where}", f"where={where}"))
        self._checked = [*columns, "weights"]
        self._drop_non_finite = drop_non_finite
        self._source, self._key, self._dtype = source, key, dtype

    @property
    def size(self) -> int:
        """The length of a tally."""
        return len(self._steps) + len(self._checked) + 1

    def dropped(self, tally: np.ndarray, rows: int) -> dict[str, int]:
        """Number of dropped rows by reason; a row counts once.

        Args:
            tally: tally of all rows.
            rows: number of rows of the table.

        Raises:
            InputError: no rows are left, or non-finite values are refused.
        """
        dropped: dict[str, int] = {}
        left, steps = rows, list(self._steps)
        counts, non_finite = tally[: len(steps)].tolist(), tally[len(steps) :].tolist()
        if self._drop_non_finite:
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
        if non_finite[-1] and not self._drop_non_finite:
            bad = zip(self._checked, non_finite[:-1], strict=True)
            text = ", ".join(f"{name} in {count}" for name, count in bad if count)
            raise InputError(
                f"{self._key}: {non_finite[-1]} of {left} rows have a NaN or infinite value "
                f"({text}): set {self._key}.drop_non_finite=true to drop them; {self._dtype} holds "
                f"values up to {np.finfo(self._dtype).max:.2g}"
            )
        return dropped
