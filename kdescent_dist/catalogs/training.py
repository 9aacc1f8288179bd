"""The training catalog: the rows of this process, in the precision of the fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdescent_dist.catalogs.regions import REGIONS, Regions
from kdescent_dist.distributed.row_blocks import RowBlocks

SAMPLE_ROWS = 1 << 20  # rows of the training catalog from which quantiles are computed
_WEIGHTS = ""  # name of the weights in digests; the same in all versions


@dataclass(frozen=True)
class TrainingCatalog:
    """The rows of the training catalog that this process holds.

    Attributes:
        columns: names to (n,) columns.
        weights: (n,) weights.
        weight: sum of the weights of all rows.
        rows: which rows of the whole catalog this process holds.
        regions: the regions of the rows; None if rows are independent.
    """

    columns: Mapping[str, np.ndarray]
    weights: np.ndarray
    weight: float
    rows: RowBlocks
    regions: Regions | None = None

    @classmethod
    def of(
        cls,
        columns: Mapping[str, np.ndarray],
        weights: np.ndarray | None = None,
        rows: RowBlocks | None = None,
        regions: np.ndarray | None = None,
    ) -> "TrainingCatalog":
        """A catalog in memory.

        Args:
            columns: names to (n,) columns of the rows of this process.
            weights: (n,) weights of these rows, 1 by default.
            rows: which rows of the whole catalog this process holds, by default all rows.
                Processes that share the rows must call this method together.
            regions: (n,) region numbers of these rows; None if rows are independent.

        Raises:
            InputError: region numbers are no integers, or there are too few regions.
        """
        if weights is None:
            weights = np.ones(len(next(iter(columns.values()))))
        rows = RowBlocks(len(weights)) if rows is None else rows
        plain, found = np.asarray(weights), None
        if regions is not None:
            found = Regions.of(regions, plain, rows)
        # Masked weights stay masked, for the check of the bins.
        return cls(columns, weights, rows.sum(plain), rows, found)

    def pick(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns and weights of some rows, in every process; all processes must call this.

        Args:
            rows: (m,) ascending numbers in the whole catalog, the same in every process.

        Returns:
            The columns by name, each (m,), and the weights (m,).
        """
        columns = {name: np.asarray(values) for name, values in self.columns.items()}
        weights = self.rows.pick({"weights": np.asarray(self.weights)}, rows)["weights"]
        return self.rows.pick(columns, rows), weights

    def regions_of(self, rows: np.ndarray) -> np.ndarray:
        """The indices (m,) of the regions of some rows; ``rows`` and processes as for ``pick``."""
        assert self.regions is not None
        return self.rows.pick({REGIONS: self.regions.of_rows}, rows)[REGIONS]

    def only(self, names: Sequence[str]) -> "TrainingCatalog":
        """The same rows with these columns only."""
        return replace(self, columns={name: np.asarray(self.columns[name]) for name in names})

    def sample(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns and weights of evenly spread rows of the catalog, in every process.

        The sample has ``SAMPLE_ROWS`` rows, or all rows of a smaller catalog.
        """
        size = min(self.rows.total, SAMPLE_ROWS)
        return self.pick(np.arange(size) * self.rows.total // max(size, 1))

    def limits(self) -> dict[str, tuple[float, float]]:
        """The smallest and the largest value of each column of all rows, in every process."""
        columns = self.columns.values()
        low = [np.min(values, initial=np.inf) for values in columns]
        high = [np.max(values, initial=-np.inf) for values in columns]
        of_all = self.rows.processes.exchange(np.array([low, high], float))
        ends = zip(
            of_all[:, 0].min(axis=0).tolist(), of_all[:, 1].max(axis=0).tolist(), strict=True
        )
        return dict(zip(self.columns, ends, strict=True))

    def digest(self) -> str:
        """SHA-256 of all rows of all columns and weights."""
        return self.rows.digest({**self.columns, _WEIGHTS: self.weights})

    def digest_of_regions(self) -> dict[str, str]:
        """The regions in the identity of what depends on them; empty without."""
        if self.regions is None:
            return {}
        return {REGIONS: self.rows.digest({REGIONS: self.regions.of_rows})}
