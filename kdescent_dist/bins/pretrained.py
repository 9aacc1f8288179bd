"""Counts of the training catalog in a bin."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin import NEGLIGIBLE_WINDOW, Bin
from kdescent_dist.bins.cross_sums import count_cross
from kdescent_dist.bins.further import known_counts, read_statistics
from kdescent_dist.bins.further_counts import count_further
from kdescent_dist.bins.narrow_columns import NarrowColumn, is_robust, narrow_columns
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
    """A bin and its training counts.

    Attributes:
        bin: the bin.
        counts: training counts at the kernels and modes to draw from; None without a catalog.
        training_count: number of training samples within the hard edges.
        number_err: error of ``training_sum``: the root of the sum of squared weights, or as given.
        reached: fraction of all training samples that the window reaches, see ``windows.reach``.
        further: names of further statistics to training counts.
        weight: given sum of the weights in a bin without a training catalog, None if unknown.
        norm_square: sum of the squared contributions of training samples to the norm of the
            counts, see ``BinSquares.norm``.
        cross: names of statistics to sums (p, parts) of ``cross_sums``; without a name, the sums
            are the counts.
        narrow: compared columns whose width is not their standard deviation, by name.
    """

    bin: Bin
    counts: KPretrainer | None
    training_count: int
    number_err: float
    reached: float
    further: Mapping[str, TrainingCounts] = field(default_factory=dict)
    weight: float | None = None
    norm_square: float = 0.0
    cross: Mapping[str, np.ndarray] = field(default_factory=dict)
    narrow: Mapping[str, NarrowColumn] = field(default_factory=dict)

    @cached_property
    def statistics(self) -> dict[str, TrainingCounts]:
        """Names of the compared statistics to training counts."""
        config = self.bin.config
        found = {} if self.counts is None else self.counts.statistics()
        off = {"kde": config.kernels == 0, "fourier": config.fourier == 0}
        every = {name: counts for name, counts in found.items() if counts.drawn and not off[name]}
        every |= self.further
        return {name: every[name] for name in ordered(every)}

    @property
    def kernel_cov(self) -> np.ndarray | None:
        """Covariance (d, d) of the kernels, None if the bin is not counted in a catalog."""
        return None if self.counts is None else np.atleast_2d(self.counts.kernelcov)

    @property
    def training_sum(self) -> float:
        """Sum of the training weights in the bin, window included; 0 if unknown."""
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
    cross: Mapping[str, np.ndarray] | None = None,
) -> PretrainedBin:
    """Precompute the training counts of one bin.

    The window weights the training samples in the same way as the samples of the model. So at the
    true parameters, counts of both have the same expectation, also with soft edges.

    Args:
        bin_: the bin.
        training: the training catalog, or names to its (n,) columns. Processes that share its rows
            must call this together. Every process gets the counts of the whole catalog, with the
            same bits for any number of processes.
        weights: (n,) weights of the columns, 1 by default; not used with a ``TrainingCatalog``.
        seed: random seed of kernel centers, Fourier modes and points of further statistics.
        mesh: devices that share the work.
        counts: kernel and Fourier counts of an earlier call with the same arguments.
        method: method of the counts, see ``KPretrainer.from_training_data``.
        found: result of ``read_statistics`` for the bin; by default the options are read here.
        further: names of further statistics to counts of an earlier call.
        cross: ``PretrainedBin.cross`` of an earlier call.

    Raises:
        InputError: options of a statistic are not valid; a column is missing, or does not vary in
            the bin; a value or a weight is masked or not finite; a weight is negative; or the bin
            has fewer training samples than ``min_training``.
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
        sample, of_norm = _sample(bin_, columns, weights, rows)
        if counts is None:
            counts = _count(bin_, sample, seed, mesh, method)
        options = Counting(method, mesh=mesh)
        further = count_further(bin_, found, further or {}, sample, seed, options)
        margins = reach(np.array(bin_.softness), sample.dtype)
        reached = rows.added_up(bin_.count(columns, margins)) / rows.total
        number_err = float(np.sqrt(sample.moments.square))
        narrow = narrow_columns(bin_, sample)
        one = PretrainedBin(bin_, counts, count, number_err, reached, further, narrow=narrow)
        if config.normalization == "counts":
            return one
        square = sample.moments.square
        if config.normalization == "density":
            square = rows.sum(weights.astype(float) ** 2)
        products = count_cross(one.statistics, cross or {}, sample, of_norm, options)
        return replace(one, norm_square=square, cross=products)
    except InputError as error:
        raise InputError(_in_bin(bin_, str(error))) from error


def known_bin(bin_: Bin, found: Mapping[str, Given]) -> PretrainedBin:
    """A bin with given counts only, without a training catalog.

    Args:
        bin_: the bin.
        found: result of ``read_statistics`` for the bin.
    """
    further = {name: known_counts(given) for name, given in found.items()}
    weights = [(g.weight, g.weight_err) for g in found.values() if g.weight is not None]
    weight, error = weights[0] if weights else (None, 0.0)
    return PretrainedBin(bin_, None, 0, error, 1.0, further, weight)


def _sample(
    bin_: Bin, columns: Mapping[str, np.ndarray], weights: np.ndarray, rows: RowBlocks
) -> tuple[TrainingSample, list[np.ndarray]]:
    """The training samples of a bin, weighted by its window.

    Returns:
        The samples; and for each block of this process, their contributions (n,) to the norm of
        normalized counts.
    """
    used = {name: float_array(columns[name], name) for name in (*bin_.window, *bin_.columns)}
    weights = float_array(weights, "weights")
    least = NEGLIGIBLE_WINDOW * rows.largest(weights)
    blocks, of_norm = [], []
    density = bin_.config.normalization == "density"
    for block in rows.slices:
        # Block by block: the rounding of a function may depend on the length of the array.
        window = np.asarray(bin_.weights({k: jnp.asarray(v[block]) for k, v in used.items()}))
        window = window * weights[block]
        keep = window > least
        x = np.stack([used[name][block][keep] for name in bin_.columns], axis=1)
        blocks.append((x, window[keep]))
        of_norm.append((weights[block] if density else window)[keep])
    dims, dtype = len(bin_.columns), weights.dtype
    return TrainingSample(blocks, rows.own[0], rows.count, dims, dtype, rows.processes), of_norm


def _count(bin_: Bin, sample: TrainingSample, seed: int, mesh: Any, method: str) -> KPretrainer:
    config = bin_.config
    kernels = 10 * sample.dims if config.kernels is None else config.kernels
    fourier = 10 * sample.dims if config.fourier is None else config.fourier
    return KPretrainer.from_training_data(
        sample,
        # ``KPretrainer`` needs a kernel, even for a bin that compares no kernels.
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
        robust_widths=is_robust(config),
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
    """A message about the training samples, with names of bin and columns instead of numbers."""
    names = dict(enumerate(bin_.columns))
    message = message.removeprefix("training_x: ")
    message = re.sub(r"column (\d+)", lambda m: f"column {names[int(m[1])]!r}", message)
    columns = ", ".join(bin_.columns)
    return f"bins.{bin_.group}: bin {bin_.name!r} of columns {columns}: {message}"
