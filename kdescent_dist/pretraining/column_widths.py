"""Widths of the columns of a training sample, which a few outliers do not set."""

from dataclasses import dataclass, replace

import numpy as np

from kdescent_dist.pretraining.sample import TrainingSample

ROWS = 1 << 16  # rows from which quartiles are found, evenly spread over the sample
NORMAL_RANGE = 1.349  # interquartile range of a normal distribution, in standard deviations
WIDEST = 2.0  # in robust standard deviations: interquartile ranges / NORMAL_RANGE
REACH = 3.0  # widths from the median within which a narrow column is correlated with others


@dataclass(frozen=True)
class ColumnWidths:
    """The widths of the d columns of a training sample.

    Silverman (1986, section 3.4.2) takes the smaller of the standard deviation and of the
    interquartile range, over 1.349 of a normal distribution. Here the latter counts twice. So the
    width of a column without heavy tails is the standard deviation, to the last bit, also for a
    small sample and for two unlike peaks. The width is continuous in the data. A column whose
    quartiles agree, as of discrete values, has the standard deviation.

    Attributes:
        deviation: (d,) standard deviations.
        median: (d,) medians.
        width: (d,) widths, no wider than the standard deviations.
    """

    deviation: np.ndarray
    median: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, sample: TrainingSample, weighted: bool = True) -> "ColumnWidths":
        """The widths of a sample, in every process; all processes must call this together.

        Args:
            sample: the training sample.
            weighted: whether rows count with their weights.
        """
        deviation = np.sqrt(np.diagonal(sample.moments.covariance))
        if not weighted:
            deviation = sample.spread()
        low, median, high = _quartiles(sample, weighted)
        limit = WIDEST * (high - low) / NORMAL_RANGE
        width = np.where(limit > 0, np.minimum(deviation, limit), deviation)
        return cls(deviation, median, width)

    @property
    def narrow(self) -> np.ndarray:
        """(d,) whether a column is narrower than its standard deviation."""
        return self.width < self.deviation

    def covariance(self, sample: TrainingSample) -> np.ndarray:
        """(d, d) covariance with these widths; without narrow columns, that of the sample.

        Outliers would set the correlations, too: a narrow column is cut off near its median.
        """
        plain = sample.moments.covariance
        if not self.narrow.any():
            return plain
        reach = np.where(self.narrow, REACH * self.width, np.inf)
        ends = [(self.median + side * reach).astype(sample.dtype) for side in (-1, 1)]
        blocks = [(np.clip(x, *ends), weights) for x, weights in sample.blocks]
        cut = replace(sample, blocks=blocks).moments.covariance
        factor = self.width / np.sqrt(np.diagonal(cut))
        found = cut * np.outer(factor, factor)
        np.fill_diagonal(found, np.where(self.narrow, self.width**2, np.diagonal(plain)))
        return found


def _quartiles(sample: TrainingSample, weighted: bool) -> np.ndarray:
    """(3, d) lower quartiles, medians and upper quartiles of evenly spread rows."""
    processes = sample.processes
    total = int(processes.added(np.array([sum(len(x) for x, _ in sample.blocks)], np.int64))[0])
    # Rows of each block by themselves: which rows they are must not depend on the processes.
    some = slice(None, None, -(-total // ROWS))
    mine = [
        (x[some], np.ones(len(x[some])) if w is None or not weighted else w[some].astype(float))
        for x, w in sample.blocks
    ]
    parts = [part for of_process in processes.gather(mine) for part in of_process]
    x, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    found = np.zeros((3, sample.dims))
    for column in range(sample.dims):
        order = np.argsort(x[:, column], kind="stable")
        below = np.cumsum(weights[order])
        rows = np.searchsorted(below, np.array([0.25, 0.5, 0.75]) * below[-1])
        found[:, column] = x[order[rows], column]
    return found
