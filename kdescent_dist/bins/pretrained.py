"""The training catalog counted in a bin."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin import NEGLIGIBLE_WINDOW, Bin
from kdescent_dist.bins.further import known_counts, read_statistics
from kdescent_dist.bins.further_counts import count_further
from kdescent_dist.bins.validate import finite_column
from kdescent_dist.bins.windows import reach
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.config.errors import InputError
from kdescent_dist.counts.points import Given
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.pretrainer import PRETRAINED_PER_DRAWN, KPretrainer
from kdescent_dist.pretraining.sample import TrainingSample
from kdescent_dist.pretraining.training_counts import TrainingCounts
from kdescent_dist.pretraining.validate import float_array


@dataclass(frozen=True)
class PretrainedBin:
    """A bin and what the training catalog has in it.

    Attributes:
        bin: the bin.
        counts: training counts at the kernels and modes to draw from.
        training_count: training samples within the hard edges.
        number_err: error of the sum of training weights, the root of the sum of their squares.
        reached: fraction of all training samples whose weight in the window is not negligible.
        further: counts of the further statistics, by name.
        weight: sum of the training weights in a bin that is not counted in a training catalog.
    """

    bin: Bin
    counts: KPretrainer | None
    training_count: int
    number_err: float
    reached: float
    further: Mapping[str, TrainingCounts] = field(default_factory=dict)
    weight: float | None = None

    @cached_property
    def statistics(self) -> dict[str, TrainingCounts]:
        """What is compared in the bin, by the names of the statistics."""
        config = self.bin.config
        found = {} if self.counts is None else self.counts.statistics()
        off = {"kde": config.kernels == 0, "fourier": config.fourier == 0}
        every = {name: counts for name, counts in found.items() if counts.drawn and not off[name]}
        every |= self.further
        return {name: every[name] for name in ordered(every)}

    @property
    def kernel_cov(self) -> np.ndarray | None:
        """Covariance (d, d) of the kernels, None where the bin is not counted in a catalog."""
        return None if self.counts is None else np.atleast_2d(self.counts.kernelcov)

    @property
    def training_sum(self) -> float:
        """Sum of the training weights in the bin."""
        if self.counts is None:
            return 0.0 if self.weight is None else self.weight
        return float(self.counts.training_sum_of_weights)


def pretrain_bin(
    bin_: Bin,
    training: TrainingCatalog | Mapping[str, np.ndarray],
    weights: np.ndarray | None = None,
    seed: int = 0,
    mesh: Any = None,
    counts: KPretrainer | None = None,
    method: str = "auto",
    found: Mapping[str, Given] | None = None,
    further: Mapping[str, TrainingCounts] | None = None,
) -> PretrainedBin:
    """Precompute the training counts of one bin.

    The training samples carry the window of the bin as weights, as the model's will, so that at
    the true parameters the expectation of both counts is the same also at soft edges.

    Args:
        bin_: the bin.
        training: the training catalog, or names to its (n,) columns. Where several processes
            share its rows, all call this together; the counts are those of the whole catalog in
            every process, with the same bits however many processes share it.
        weights: (n,) weights of the columns, 1 by default; a training catalog has its own.
        seed: random seed of the kernel centers and Fourier modes.
        mesh: devices over which the work on these rows is sharded.
        counts: training counts that were computed before, from the same arguments.
        method: how they are computed, see ``KPretrainer.from_training_data``.
        found: what ``read_statistics`` found for the bin before, by default read here.
        further: counts of further statistics that were computed before, by name.

    Raises:
        InputError: the options of a statistic cannot be used; a column is missing; a value of it
            or a weight is masked or not finite, or a weight is negative; the bin holds fewer
            training samples than its ``min_training``, or a column does not vary in it.
    """
    if not isinstance(training, TrainingCatalog):
        training = TrainingCatalog.of(training, weights)
    config, rows = bin_.config, training.rows
    if found is None:
        found = read_statistics(f"bins.{bin_.group}", config)
    columns = _checked_columns(bin_, training.columns, rows)
    weights = _checked_weights(training.weights, rows)
    count = rows.added_up(bin_.count(columns))
    if count < config.min_training:
        raise InputError(
            f"bins.{bin_.group}: bin {bin_.name!r} holds {count} training samples, fewer than "
            f"min_training={config.min_training}: widen its edges, or drop it"
        )
    try:
        sample = _sample(bin_, columns, weights, rows)
        if counts is None:
            counts = _count(bin_, sample, seed, mesh, method)
        options = Counting(method, mesh=mesh)
        further = count_further(bin_, found, further or {}, sample, seed, options)
    except InputError as error:
        raise InputError(_in_bin(bin_, str(error))) from error
    number_err = float(np.sqrt(sample.moments.square))
    margins = reach(np.array(bin_.softness), sample.dtype)
    reached = rows.added_up(bin_.count(columns, margins)) / rows.total
    return PretrainedBin(bin_, counts, count, number_err, reached, further)


def known_bin(bin_: Bin, found: Mapping[str, Given]) -> PretrainedBin:
    """A bin all of whose counts are given, without a training catalog.

    Args:
        bin_: the bin.
        found: what ``read_statistics`` found for the bin.
    """
    further = {name: known_counts(given) for name, given in found.items()}
    weights = [(g.weight, g.weight_err) for g in found.values() if g.weight is not None]
    weight, error = weights[0] if weights else (None, 0.0)
    return PretrainedBin(bin_, None, 0, error, 1.0, further, weight)


def _sample(
    bin_: Bin, columns: Mapping[str, np.ndarray], weights: np.ndarray, rows: RowBlocks
) -> TrainingSample:
    """The training samples of a bin, weighted by its window."""
    used = {name: float_array(columns[name], name) for name in (*bin_.window, *bin_.columns)}
    weights = float_array(weights, "weights")
    least = NEGLIGIBLE_WINDOW * rows.largest(weights)
    blocks = []
    for block in rows.slices:
        # Block by block: how a function is rounded may depend on the length of an array.
        window = np.asarray(bin_.weights({k: jnp.asarray(v[block]) for k, v in used.items()}))
        window = window * weights[block]
        keep = window > least
        x = np.stack([used[name][block][keep] for name in bin_.columns], axis=1)
        blocks.append((x, window[keep]))
    dims, dtype = len(bin_.columns), weights.dtype
    return TrainingSample(blocks, rows.own[0], rows.count, dims, dtype, rows.processes)


def _count(bin_: Bin, sample: TrainingSample, seed: int, mesh: Any, method: str) -> KPretrainer:
    config = bin_.config
    kernels = 10 * sample.dims if config.kernels is None else config.kernels
    fourier = 10 * sample.dims if config.fourier is None else config.fourier
    return KPretrainer.from_training_data(
        sample,
        # A bin without kernels still needs a bandwidth, and is never drawn from.
        num_eval_kernels=max(kernels, 1),
        num_eval_fourier_positions=max(fourier, 1),
        num_pretrain_kernels=config.pretrain_kernels or PRETRAINED_PER_DRAWN * max(kernels, 1),
        num_pretrain_fourier_positions=config.pretrain_fourier
        or PRETRAINED_PER_DRAWN * max(fourier, 1),
        bandwidth_factor=config.bandwidth_factor,
        fourier_range_factor=config.fourier_range_factor,
        fourier_half_space=config.fourier_half_space,
        covariant_kernels=config.covariant_kernels,
        inverse_density_weight_power=config.inverse_density_weight_power,
        seed=seed,
        mesh=mesh,
        method=method,
    )


def _checked_columns(
    bin_: Bin, columns: Mapping[str, np.ndarray], rows: RowBlocks
) -> dict[str, np.ndarray]:
    key = f"bins.{bin_.group}"
    where = "windows" if bin_.config.windows else "edges"
    keys = {name: f"{key}.{where}.{name}" for name in bin_.window}
    keys |= dict.fromkeys(bin_.columns, f"{key}.columns")
    return {name: finite_column(of_column, name, columns, rows) for name, of_column in keys.items()}


def _checked_weights(weights: np.ndarray, rows: RowBlocks) -> np.ndarray:
    weights = finite_column("training weights", "weights", {"weights": weights}, rows)
    if bad := rows.added_up(int(np.count_nonzero(weights < 0))):
        raise InputError(
            f"training weights: {bad} of {rows.total} are negative: weights must be at least 0"
        )
    return weights


def _in_bin(bin_: Bin, message: str) -> str:
    """A message about the matrix of compared columns, told by the names of bin and columns."""
    names = dict(enumerate(bin_.columns))
    message = message.removeprefix("training_x: ")
    message = re.sub(r"column (\d+)", lambda m: f"column {names[int(m[1])]!r}", message)
    columns = ", ".join(bin_.columns)
    return f"bins.{bin_.group}: bin {bin_.name!r} of columns {columns}: {message}"
