"""A weighted training sample in blocks of rows, which processes share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.numerics.exact_sums import exact_total
from kdescent_dist.pretraining.validate import check_variances


@dataclass(frozen=True)
class Moments:
    """Sums over a training sample, in double precision, the same in every process.

    Attributes:
        weight: sum of the weights.
        square: sum of the squared weights.
        mean: (d,) weighted mean.
        covariance: (d, d) unbiased weighted covariance.
    """

    weight: float
    square: float
    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class WeightedRows:
    """Weighted rows of d dimensions. Results have the same bits for any distribution of blocks.

    Attributes:
        blocks: for each block of this process, samples (n, d) and weights (n,), or None for
            weights of 1.
        first: number of the first block of this process.
        count: number of blocks of all processes.
        dims: d.
        dtype: type of samples and weights.
        processes: the processes that share the blocks.
    """

    blocks: list[tuple[np.ndarray, np.ndarray | None]]
    first: int
    count: int
    dims: int
    dtype: Any
    processes: Processes

    def added(self, parts: list[Any], shape: tuple[int, ...]) -> np.ndarray:
        """The sum over all blocks; ``parts`` has one array of ``shape`` per block here."""
        return exact_total(parts, shape, self.count, self.processes)

    def unit(self) -> float:
        """The smallest power of 2 that no weight exceeds."""
        largest = [1.0 if w is None else np.max(w, initial=0.0) for _, w in self.blocks]
        exponent = np.ceil(np.log2(max(largest, default=0.0) or np.finfo(float).tiny))
        return float(np.exp2(self.processes.largest(np.array([exponent], np.int32))[0]))

    def middle(self) -> np.ndarray:
        """(d,) a point among the samples, which outliers do not move: the median of some rows."""
        mine = next((x for x, _ in self.blocks if len(x)), None)
        numbers = np.zeros(self.processes.count, np.int64)
        numbers[self.processes.index] = mine is not None
        first = int(np.argmax(self.processes.added(numbers)))
        middle = np.zeros(self.dims)
        if first == self.processes.index and mine is not None:
            middle = np.median(mine[:: max(len(mine) // 1000, 1)], axis=0).astype(float)
        return self.processes.merged(middle)


@dataclass(frozen=True)
class TrainingSample(WeightedRows):
    """Training samples of d dimensions.

    Attributes:
        moments: weighted moments of all samples.
    """

    moments: Moments = field(init=False)

    def __post_init__(self) -> None:
        """Compute the moments; all processes must create their objects together.

        Raises:
            InputError: fewer than 2 samples have a nonzero weight, or the variance of a column is
                0 or out of the range of the type of the samples.
        """
        numbers = [len(x) if w is None else np.count_nonzero(w) for x, w in self.blocks]
        counted = int(self.processes.added(np.array([sum(numbers)], np.int64))[0])
        if counted < 2:
            raise InputError(
                f"training_x: {counted} rows of nonzero weight: at least 2 are needed for a "
                "covariance"
            )
        object.__setattr__(self, "moments", self._moments(weighted=True))

    @classmethod
    def whole(cls, x: np.ndarray, weights: np.ndarray | None) -> "TrainingSample":
        """A single block, (n, d) samples and (n,) weights, the same in every process."""
        return cls([(x, weights)], 0, 1, x.shape[1], x.dtype, Processes(()))

    def spread(self) -> np.ndarray:
        """(d,) unweighted standard deviations."""
        return np.sqrt(np.diagonal(self._moments(weighted=False).covariance))

    def _moments(self, weighted: bool) -> Moments:
        # Column by column: a BLAS library may sum in an order that depends on its threads.
        dims, parts = self.dims, []
        for x, w in self._doubles(weighted):
            parts.append([np.sum(w), np.sum(w * w), *(np.sum(w * a) for a in x)])
        weight, square, *sums = self.added(parts, (dims + 2,))
        mean, parts = np.array(sums) / weight, []
        pairs = [(i, j) for i in range(dims) for j in range(i + 1)]
        for x, w in self._doubles(weighted):
            x -= mean[:, None]
            parts.append([np.sum(w * x[i] * x[j]) for i, j in pairs])
        covariance = np.zeros((dims, dims))
        for (i, j), value in zip(pairs, self.added(parts, (len(pairs),)), strict=True):
            covariance[i, j] = covariance[j, i] = value / (weight - square / weight)
        check_variances(covariance, self.dtype)
        return Moments(float(weight), float(square), mean, covariance)

    def _doubles(self, weighted: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Copies of the columns (d, n) and weights (n,) of each block, in double precision."""
        for x, w in self.blocks:
            weights = w if weighted and w is not None else np.ones(len(x))
            yield x.T.astype(float), weights.astype(float)
