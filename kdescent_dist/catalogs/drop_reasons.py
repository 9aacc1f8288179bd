"""Why rows are left out of a catalog, and how many for each reason."""

from collections.abc import Sequence

import numpy as np

from kdescent_dist.config.errors import InputError


class DropReasons:
    """The reasons for which a selection drops rows, and what a tally of them says.

    A tally is an array of ``size`` counts of rows; tallies of different rows add up. It has the
    rows that were dropped for each sentinel; those for ``where``, if there is one; those that are
    not finite, of each column and of the weights; and how many rows are not finite in all.
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
            sentinels: columns, each with a value that is missing.
            where: as it is in the config, or None.
            columns: names of those that are returned.
            drop_non_finite: whether rows with values that are not finite may go.
            source: name of the table, for messages.
            key: prefix of the config keys, for messages.
            dtype: in which values must be finite.
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
        """Rows that were left out, counted by the reason; a row counts once.

        Args:
            tally: of all rows.
            rows: how many rows the table has.

        Raises:
            InputError: no rows are left, or values are not finite and that is not allowed.
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
