"""Columns in units of their standard deviation, from their mean: both are those of all rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.numerics.exact_sums import Reductions, exact_total

# Rows of the file whose sums are rounded, the same for any number of processes.
CHUNK_ROWS = 1 << 16
LEAST_VARIANCE = 1e-12  # in units of the mean square, which is summed with 16 digits


@dataclass(frozen=True)
class Scale:
    """What a column is standardized with.

    Attributes:
        mean: weighted mean of the selected rows.
        deviation: weighted standard deviation of them.
    """

    mean: float
    deviation: float

    def standardized(self, values: np.ndarray) -> np.ndarray:
        """Values (n,) of the column as a new array of the same type."""
        return ((values.astype(np.float64) - self.mean) / self.deviation).astype(values.dtype)


def check_names(names: Sequence[str], required: Sequence[str], key: str) -> None:
    """Check that columns to be standardized are among those that are used.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if name not in required:
            raise InputError(
                f"{key}.standardize: {name!r} is not a column that is used: "
                f"{closest(name, required)}"
            )


def moments(columns: Sequence[np.ndarray], weights: np.ndarray | None) -> np.ndarray:
    """Sums over the n rows of a chunk, (1 + 2 columns,): of weights, values and squares.

    Args:
        columns: (n,) values of each.
        weights: (n,) weights, None if all are 1.
    """
    sums = [float(len(columns[0])) if weights is None else weights.sum(dtype=np.float64)]
    for values in columns:
        wide = values.astype(np.float64)
        once = wide if weights is None else wide * weights
        sums += [once.sum(), (once * wide).sum()]
    return np.array(sums)


def scales(
    names: Sequence[str], parts: np.ndarray, chunks: int, processes: Reductions, key: str
) -> dict[str, Scale]:
    """The scale of each column.

    Args:
        names: of the columns.
        parts: (chunks of this process, 1 + 2 columns) moments.
        chunks: how many all processes have.
        processes: all of them must call this together.
        key: prefix of the config key, for messages.

    Raises:
        InputError: a column varies too little for the digits of its mean square.
    """
    total = exact_total(list(parts), parts.shape[1:], chunks, processes)
    means, squares = total[1::2] / total[0], total[2::2] / total[0]
    found = {}
    for name, mean, variance in zip(names, means, squares - means**2, strict=True):
        if not variance > LEAST_VARIANCE * mean**2:
            raise InputError(
                f"{key}.standardize: {name!r} varies too little around its mean {mean:g}: derive "
                f"it as a distance from there in {key}.columns"
            )
        found[name] = Scale(float(mean), float(np.sqrt(variance)))
    return found
