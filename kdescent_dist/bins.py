"""Conditional bins: a window on some columns, within which counts of other columns are compared.

A grid of bins is written as edges of one or several columns; the bins of a grid have equal shapes
and are stacked, so that they are computed together.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config import BinsConfig
from kdescent_dist.errors import InputError
from kdescent_dist.pretrain import KPretrainer

# Training samples whose window weight is below this are left out of a bin.
NEGLIGIBLE_WINDOW = 1e-6


def soft_tophat(x: Any, low: Any, high: Any, softness: Any = 0.04) -> Any:
    """A window that is nearly 1 where ``low < x < high`` and nearly 0 elsewhere.

    The product of a rising and a falling sigmoid of width ``softness * (high - low)``; with
    softness 0, exactly 1 where ``low <= x < high`` and 0 elsewhere (no gradient).
    """
    inside = ((x >= low) & (x < high)).astype(x.dtype)
    if isinstance(softness, int | float) and softness == 0:
        return inside
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
    """List every bin of every grid, the last conditional column varying fastest."""
    bins = []
    for group, config in grids.items():
        per_column = [
            [(column, (low, high)) for low, high in itertools.pairwise(edges)]
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


def pretrain_bin(
    bin_: Bin, columns: Mapping[str, np.ndarray], weights: np.ndarray, seed: int, mesh: Any = None
) -> KPretrainer:
    """Precompute the training counts of one bin.

    The training samples carry the window of the bin as weights, as the model's will, so that at
    the true parameters the expectation of both counts is the same also at soft edges.

    Args:
        bin_: the bin.
        columns: training columns, each (n,).
        weights: (n,) training weights.
        seed: random seed of the kernel centers and Fourier modes.
        mesh: devices over which the work is sharded.

    Raises:
        InputError: the bin holds fewer training samples than its ``min_training``.
    """
    config = bin_.config
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
    return KPretrainer.from_training_data(
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
        training_sum: (m,) sums of the training weights.
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


def stack_bins(
    bins: Sequence[Bin], pretrainers: Sequence[KPretrainer], dtype: Any
) -> list[tuple[Stack, StackData]]:
    """Stack pretrained bins of equal shape.

    Args:
        bins: the bins.
        pretrainers: their training counts, in the same order.
        dtype: floating-point type of the arrays.
    """
    groups: dict[tuple, list[int]] = {}
    for i, (bin_, pre) in enumerate(zip(bins, pretrainers, strict=True)):
        shapes = (pre.kernel_centers.shape, pre.fourier_positions.shape)
        sizes = (
            0 if bin_.config.kernels == 0 else pre.num_eval_kernels,
            0 if bin_.config.fourier == 0 else pre.num_eval_fourier_positions,
        )
        hard = bin_.config.softness == 0
        key = (bin_.columns, tuple(bin_.window), *sizes, hard, *shapes)
        groups.setdefault(key, []).append(i)
    stacks = []
    for (columns, conditions, kernels, fourier, hard, *_), members in groups.items():
        of = [bins[i] for i in members]
        stack = Stack(tuple(of), columns, conditions, kernels, fourier, hard)
        stacks.append((stack, _stack_data(of, [pretrainers[i] for i in members], dtype)))
    return stacks


def _stack_data(bins: Sequence[Bin], pres: Sequence[KPretrainer], dtype: Any) -> StackData:
    def real(values: Iterable[Any]) -> np.ndarray:
        return np.stack([np.asarray(v, dtype) for v in values])

    def of_complex(values: Iterable[Any]) -> np.ndarray:
        return np.stack([np.asarray(v, np.result_type(dtype, np.complex64)) for v in values])

    edges = real([np.reshape(list(b.window.values()), (-1, 2)) for b in bins])
    return StackData(
        low=edges[:, :, 0],
        high=edges[:, :, 1],
        softness=real([[b.config.softness] for b in bins]),
        centers=real(p.kernel_centers for p in pres),
        cov=real(np.atleast_2d(p.kernelcov) for p in pres),
        kde_truth=real(p.kde_counts for p in pres),
        kde_err=real(p.kde_err for p in pres),
        modes=real(p.fourier_positions for p in pres),
        fourier_truth=of_complex(p.fourier_counts for p in pres),
        fourier_err=of_complex(p.fourier_err for p in pres),
        training_sum=real(p.training_sum_of_weights for p in pres),
    )
