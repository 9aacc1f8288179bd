"""The regions of a catalog: galaxies cluster, so rows of one region are not independent.

Regions are patches of the sky, or cells of a volume, that are large enough to be independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.row_blocks import RowBlocks

REGIONS = "catalog.regions"  # name of the column of region numbers; also its key in the config
FEWEST_REGIONS = 10  # a jackknife over so few has errors that are 24% uncertain
MOST_REGIONS = 1000  # of more, regions are joined: sums of each are held in memory


@dataclass(frozen=True)
class Regions:
    """The regions of the rows of a catalog.

    Attributes:
        of_rows: (n,) index of the region of each row of this process.
        weights: (K,) sums of the weights of the regions, in all processes.
    """

    of_rows: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, weights: np.ndarray, rows: RowBlocks) -> "Regions":
        """The regions with the given numbers. More than ``MOST_REGIONS`` are joined into as many.

        Args:
            numbers: (n,) region numbers of the rows of this process, any integers.
            weights: (n,) weights of these rows.
            rows: which rows of the whole catalog this process holds; processes that share the rows
                must call this method together.

        Raises:
            InputError: a number is not an integer, or there are too few regions.
        """
        numbers = np.asarray(numbers)
        if numbers.shape != np.shape(weights):
            raise InputError(
                f"{REGIONS}: has the shape {numbers.shape}, and the weights have the shape "
                f"{np.shape(weights)}: give one region number per row"
            )
        if numbers.dtype.kind not in "biuf":
            raise InputError(f"{REGIONS}: is of type {numbers.dtype}: must be integers")
        with np.errstate(invalid="ignore"):
            bad = rows.added_up(int(np.count_nonzero(~(numbers == np.rint(numbers)))))
            bad += rows.added_up(int(np.count_nonzero(np.isinf(numbers))))
        if bad:
            raise InputError(
                f"{REGIONS}: {bad} of {rows.total} region numbers are no integers: number the "
                "regions, such as ra // 10 + 36 * ((dec + 90) // 10)"
            )
        known = np.unique(
            np.concatenate(rows.processes.gather(np.unique(numbers.astype(np.int64))))
        )
        if len(known) < FEWEST_REGIONS:
            raise InputError(
                f"{REGIONS}: there are {len(known)} regions, fewer than {FEWEST_REGIONS}: a "
                "jackknife of so few says little; divide the survey into more regions"
            )
        indices = np.searchsorted(known, numbers)
        count = min(len(known), MOST_REGIONS)
        of_rows = (indices * count // len(known)).astype(np.int32)  # neighbors are joined
        parts = [
            np.bincount(of_rows[block], np.asarray(weights[block], float), count)
            for block in rows.slices
        ]
        return cls(of_rows, rows.total_of(parts, (count,)))

    @property
    def count(self) -> int:
        """Number K of regions."""
        return len(self.weights)

    @property
    def effective(self) -> float:
        """Effective number of regions (Kish 1965): fewer than K if their weights differ."""
        return float(np.sum(self.weights) ** 2 / np.sum(self.weights**2))


def option_of(name: str) -> str:
    """The option of a catalog whose expression is a column."""
    return "regions" if name == REGIONS else f"columns.{name}"


def split_off(
    columns: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The other columns, and the column of region numbers, None without."""
    others = {name: values for name, values in columns.items() if name != REGIONS}
    return others, columns.get(REGIONS)
