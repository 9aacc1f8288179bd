"""Conditional bins: a window on some columns, within which counts of other columns are compared.

A grid of bins is written as edges of one or several columns; the bins of a grid have equal shapes
and are stacked, so that they are computed together.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.checks import check_bins
from kdescent_dist.errors import InputError, closest
from kdescent_dist.pretrain import KPretrainer
from kdescent_dist.settings import BinsConfig

# Training samples whose window weight is below this are left out of a bin.
NEGLIGIBLE_WINDOW = 1e-6


def soft_tophat(x: Any, low: Any, high: Any, softness: Any = 0.04) -> Any:
    """A window that is nearly 1 where ``low < x < high`` and nearly 0 elsewhere.

    The product of a rising and a falling sigmoid of width ``softness * (high - low)``; with
    softness 0, exactly 1 where ``low <= x < high`` and 0 elsewhere (no gradient).
    """
    if isinstance(softness, int | float) and softness == 0:
        return ((x >= low) & (x < high)).astype(x.dtype)
    width = softness * (high - low)
    return jax.nn.sigmoid((x - low) / width) * jax.nn.sigmoid((high - x) / width)


@dataclass(frozen=True)
class Bin:
    """One conditional bin.

    Attributes:
        name: unique name, such as ``ri[redshift 0.1-0.3]``.
        group: name of the grid that it belongs to.
        window: (low, high) of each conditional column, empty for all samples.
        config: what is compared, and how.
    """

    name: str
    group: str
    window: Mapping[str, tuple[float, float]]
    config: BinsConfig

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.config.columns)

    def weights(self, columns: Mapping[str, Any]) -> Any:
        """Window weights (n,) of samples given by their columns, each (n,)."""
        first = columns[self.columns[0]]
        weights = jnp.ones_like(first)
        for name, (low, high) in self.window.items():
            weights = weights * soft_tophat(columns[name], low, high, self.config.softness)
        return weights

    def count(self, columns: Mapping[str, np.ndarray]) -> int:
        """Number of samples within the hard edges of the window."""
        inside = np.ones(len(columns[self.columns[0]]), bool)
        for name, (low, high) in self.window.items():
            inside &= (columns[name] >= low) & (columns[name] < high)
        return int(inside.sum())


def expand_bins(grids: Mapping[str, BinsConfig]) -> list[Bin]:
    """List every bin of every grid, the last conditional column varying fastest.

    Raises:
        InputError: names the value of a config that is out of range.
    """
    bins = []
    for group, config in grids.items():
        check_bins(f"bins.{group}", config)
        per_column = [
            [(column, (float(low), float(high))) for low, high in itertools.pairwise(edges)]
            for column, edges in config.edges.items()
        ]
        for cell in itertools.product(*per_column):
            text = ", ".join(f"{column} {low:g}-{high:g}" for column, (low, high) in cell)
            bins.append(Bin(f"{group}[{text}]" if text else group, group, dict(cell), config))
    return bins


def required_columns(grids: Mapping[str, BinsConfig]) -> list[str]:
    """Columns that the bins compare or condition on, each once, in order of appearance."""
    names = [name for config in grids.values() for name in (*config.columns, *config.edges)]
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class PretrainedBin:
    """A bin and what the training catalog has in it.

    Attributes:
        bin: the bin.
        counts: training counts at the kernels and modes to draw from.
        training_count: training samples within the hard edges.
        number_err: error of the sum of training weights, the root of the sum of their squares.
    """

    bin: Bin
    counts: KPretrainer
    training_count: int
    number_err: float


def pretrain_bin(
    bin_: Bin,
    columns: Mapping[str, np.ndarray],
    weights: np.ndarray,
    seed: int,
    mesh: Any = None,
    counts: KPretrainer | None = None,
) -> PretrainedBin:
    """Precompute the training counts of one bin.

    The training samples carry the window of the bin as weights, as the model's will, so that at
    the true parameters the expectation of both counts is the same also at soft edges.

    Args:
        bin_: the bin.
        columns: training columns, each (n,).
        weights: (n,) training weights.
        seed: random seed of the kernel centers and Fourier modes.
        mesh: devices over which the work is sharded.
        counts: training counts that were computed before, from the same arguments.

    Raises:
        InputError: a column is missing or not finite; the bin holds fewer training samples than
            its ``min_training``, or a column does not vary in it.
    """
    config = bin_.config
    _check_columns(bin_, columns)
    count = bin_.count(columns)
    if count < config.min_training:
        raise InputError(
            f"bins.{bin_.group}: bin {bin_.name!r} holds {count} training samples, fewer than "
            f"min_training={config.min_training}: widen its edges, or drop it"
        )
    window = np.asarray(bin_.weights({k: jnp.asarray(v) for k, v in columns.items()})) * weights
    keep = window > NEGLIGIBLE_WINDOW * np.max(weights)
    x = np.stack([columns[name][keep] for name in bin_.columns], axis=1)
    kernels = 10 * x.shape[1] if config.kernels is None else config.kernels
    fourier = 10 * x.shape[1] if config.fourier is None else config.fourier
    if counts is None:
        try:
            counts = KPretrainer.from_training_data(
                x,
                training_weights=window[keep],
                # A bin without kernels still needs a bandwidth, and is never drawn from.
                num_eval_kernels=max(kernels, 1),
                num_eval_fourier_positions=max(fourier, 1),
                num_pretrain_kernels=config.pretrain_kernels or 300 * max(kernels, 1),
                num_pretrain_fourier_positions=config.pretrain_fourier or 300 * max(fourier, 1),
                bandwidth_factor=config.bandwidth_factor,
                fourier_range_factor=config.fourier_range_factor,
                fourier_half_space=config.fourier_half_space,
                covariant_kernels=config.covariant_kernels,
                inverse_density_weight_power=config.inverse_density_weight_power,
                seed=seed,
                mesh=mesh,
            )
        except InputError as error:
            raise InputError(_in_bin(bin_, str(error))) from error
    return PretrainedBin(bin_, counts, count, float(np.sqrt(np.sum(window[keep] ** 2))))


def _check_columns(bin_: Bin, columns: Mapping[str, np.ndarray]) -> None:
    keys = {name: f"bins.{bin_.group}.edges.{name}" for name in bin_.window}
    keys |= dict.fromkeys(bin_.columns, f"bins.{bin_.group}.columns")
    for name, key in keys.items():
        if name not in columns:
            raise InputError(f"{key}: no column {name!r}: {closest(name, columns)}")
        values = np.asarray(columns[name])
        if bad := np.count_nonzero(~np.isfinite(values)):
            raise InputError(
                f"{key}: {bad} of {len(values)} values of column {name!r} are NaN or infinite: "
                "leave these rows out"
            )


def _in_bin(bin_: Bin, message: str) -> str:
    """A message about the matrix of compared columns, told by the names of bin and columns."""
    names = dict(enumerate(bin_.columns))
    message = message.removeprefix("training_x: ")
    message = re.sub(r"column (\d+)", lambda m: f"column {names[int(m[1])]!r}", message)
    columns = ", ".join(bin_.columns)
    return f"bins.{bin_.group}: bin {bin_.name!r} of columns {columns}: {message}"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StackData:
    """Arrays of m stacked bins of d columns and c conditional columns.

    Attributes:
        low, high: (m, c) edges of the windows.
        softness: (m, 1) softness of the windows.
        centers: (m, p, d) kernel centers to draw from, with their covariance (m, d, d),
            training counts and errors (m, p).
        modes: (m, q, d) Fourier modes to draw from, with their training counts and errors,
            complex (m, q).
        training_sum: (m,) sums of the training weights, with their errors ``number_err``.
        number_density: (m,) whether the number-density term counts for the bin.
        weight: (m,) weights of the bins in the loss.
    """

    low: Any
    high: Any
    softness: Any
    centers: Any
    cov: Any
    kde_truth: Any
    kde_err: Any
    modes: Any
    fourier_truth: Any
    fourier_err: Any
    training_sum: Any
    number_err: Any
    number_density: Any
    weight: Any


@dataclass(frozen=True)
class Stack:
    """What the m bins of one stack have in common, and so is known to the compiler.

    Attributes:
        bins: the bins.
        columns: d columns that are compared.
        conditions: c conditional columns.
        kernels, fourier: kernels and modes drawn per bin and step.
        hard: whether the windows have hard edges.
    """

    bins: tuple[Bin, ...]
    columns: tuple[str, ...]
    conditions: tuple[str, ...]
    kernels: int
    fourier: int
    hard: bool

    def window(self, data: StackData, columns: Mapping[str, jax.Array]) -> jax.Array:
        """Window weights (m, n) of samples given by their columns, each (n,)."""
        first = columns[self.columns[0]]
        weights = jnp.ones((len(self.bins), first.shape[0]), first.dtype)
        for i, name in enumerate(self.conditions):
            softness = 0 if self.hard else data.softness
            weights *= soft_tophat(
                columns[name], data.low[:, i : i + 1], data.high[:, i : i + 1], softness
            )
        return weights


def stack_bins(bins: Sequence[PretrainedBin], dtype: Any) -> list[tuple[Stack, StackData]]:
    """Stack pretrained bins of equal shape, with arrays of floating-point type ``dtype``."""
    groups: dict[tuple, list[PretrainedBin]] = {}
    for pretrained in bins:
        bin_, counts = pretrained.bin, pretrained.counts
        kernels = 0 if bin_.config.kernels == 0 else counts.num_eval_kernels
        fourier = 0 if bin_.config.fourier == 0 else counts.num_eval_fourier_positions
        hard = bin_.config.softness == 0
        shapes = (np.shape(counts.kernel_centers), np.shape(counts.fourier_positions))
        key = (bin_.columns, tuple(bin_.window), kernels, fourier, hard, shapes)
        groups.setdefault(key, []).append(pretrained)
    return [
        (Stack(tuple(p.bin for p in members), *key[:-1]), _stack_data(members, dtype))
        for key, members in groups.items()
    ]


def _stack_data(bins: Sequence[PretrainedBin], dtype: Any) -> StackData:
    complex_dtype = np.result_type(dtype, np.complex64)

    def stacked(of: Callable[[PretrainedBin], Any], dtype: Any = dtype) -> np.ndarray:
        return np.stack([np.asarray(of(b), dtype) for b in bins])

    edges = stacked(lambda b: np.reshape(list(b.bin.window.values()), (-1, 2)))
    return StackData(
        low=edges[:, :, 0],
        high=edges[:, :, 1],
        softness=stacked(lambda b: [b.bin.config.softness]),
        centers=stacked(lambda b: b.counts.kernel_centers),
        cov=stacked(lambda b: np.atleast_2d(b.counts.kernelcov)),
        kde_truth=stacked(lambda b: b.counts.kde_counts),
        kde_err=stacked(lambda b: b.counts.kde_err),
        modes=stacked(lambda b: b.counts.fourier_positions),
        fourier_truth=stacked(lambda b: b.counts.fourier_counts, complex_dtype),
        fourier_err=stacked(lambda b: b.counts.fourier_err, complex_dtype),
        training_sum=stacked(lambda b: b.counts.training_sum_of_weights),
        number_err=stacked(lambda b: b.number_err),
        number_density=stacked(lambda b: b.bin.config.number_density, bool),
        weight=stacked(lambda b: b.bin.config.weight),
    )
