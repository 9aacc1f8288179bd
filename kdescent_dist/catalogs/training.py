"""The training catalog: the rows of this process, in the precision of the fit."""

from dataclasses import dataclass

import numpy as np

from kdescent_dist.distributed.row_blocks import RowBlocks

SAMPLE_ROWS = 1 << 20  # of the training catalog, of which edges by quantiles are found


@dataclass(frozen=True)
class TrainingCatalog:
    """The rows of the training catalog that this process holds, in the precision of the fit.

    Attributes:
        columns: names to (n,) columns.
        weights: (n,) weights.
        weight: sum of the weights of all rows.
        rows: which rows these are.
    """

    columns: dict[str, np.ndarray]
    weights: np.ndarray
    weight: float
    rows: RowBlocks

    def sample(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns and weights of rows evenly spread over the catalog, in every process."""
        size = min(self.rows.total, SAMPLE_ROWS)
        chosen = np.arange(size) * self.rows.total // max(size, 1)
        picked = self.rows.pick({**self.columns, "": self.weights}, chosen)
        weights = picked.pop("")
        return picked, weights

    def extremes(self) -> dict[str, tuple[float, float]]:
        """The smallest and the largest value of each column of all rows."""
        columns = self.columns.values()
        low = [np.min(values, initial=np.inf) for values in columns]
        high = [np.max(values, initial=-np.inf) for values in columns]
        of_all = self.rows.processes.exchange(np.array([low, high], float))
        ends = zip(
            of_all[:, 0].min(axis=0).tolist(), of_all[:, 1].max(axis=0).tolist(), strict=True
        )
        return dict(zip(self.columns, ends, strict=True))
