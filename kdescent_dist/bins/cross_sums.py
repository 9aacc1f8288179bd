"""Sums over training samples of products: the contribution to a count times that to its norm.

The errors of normalized counts need these sums, see ``ratio_errors``. If all contributions to the
norm are the weights in the bin, and all of these are 0 or 1, the sums are the counts themselves.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kdescent_dist.bins.further_counts import count_further_rows
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.counting import count_kernels, count_modes
from kdescent_dist.pretraining.sample import TrainingSample, WeightedRows
from kdescent_dist.pretraining.training_counts import TrainingCounts


def count_cross(
    statistics: Mapping[str, TrainingCounts],
    known: Mapping[str, np.ndarray],
    sample: TrainingSample,
    of_norm: Sequence[np.ndarray],
    options: Counting,
) -> dict[str, np.ndarray]:
    """The sums (p, parts) of each statistic that is counted in the training sample.

    Args:
        statistics: names of the statistics to their training counts.
        known: names of statistics to the results of an earlier call.
        sample: the training sample of the bin; this process holds some of the blocks.
        of_norm: for each block of this process, the contributions (n,) to the norm.
        options: method and devices.

    Returns:
        The sums by name, empty if they are the counts.
    """
    rows, scale = _products(sample, of_norm)
    if rows is None:
        return {}
    cross = {}
    for name, one in ordered(statistics).items():
        counts = statistics[name]
        if counts.given:
            continue
        points, before = counts.points, known.get(name)
        if before is not None and before.shape == counts.values.shape:
            cross[name] = before
        elif name == "kde":
            centers, cov = points.each["centers"], points.common["cov"]
            found = count_kernels(rows, centers, cov, options)[0].astype(float)
            cross[name] = scale * found[:, None]
        elif name == "fourier":
            found = scale * count_modes(rows, points.each["modes"], options)[0].astype(complex)
            cross[name] = np.stack([found.real, found.imag], axis=1)
        else:
            cross[name] = scale * count_further_rows(one, points, rows)
    return cross


def _products(
    sample: TrainingSample, of_norm: Sequence[np.ndarray]
) -> tuple[WeightedRows | None, float]:
    """The rows with the products as weights, in a unit; and the unit.

    The rows are None if all products are the weights in the bin.
    """
    unit, blocks, new = sample.unit(), [], False
    for (x, weights), contributions in zip(sample.blocks, of_norm, strict=True):
        assert weights is not None
        new = new or not np.array_equal(weights * contributions, weights)
        # In this unit, products do not underflow.
        blocks.append((x, (weights / unit * (contributions / unit)).astype(sample.dtype)))
    if not sample.processes.any(new):
        return None, 1.0
    shape = (sample.first, sample.count, sample.dims, sample.dtype, sample.processes)
    return WeightedRows(blocks, *shape), unit**2
