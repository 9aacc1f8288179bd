"""Bins of equal shape, stacked into arrays so that they are computed together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kdescent_dist.bins.bin import Bin
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.bins.windows import reach


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StackData:
    """Arrays of m stacked bins of d columns and c conditional columns.

    Attributes:
        low, high: (m, c) edges of the windows.
        softness: (m, c) softness of the windows.
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
        hard: of each conditional column, whether the windows have hard edges.
        sparse: whether each bin is computed from the samples within its reach alone.
    """

    bins: tuple[Bin, ...]
    columns: tuple[str, ...]
    conditions: tuple[str, ...]
    kernels: int
    fourier: int
    hard: tuple[bool, ...]
    sparse: bool

    @property
    def edges(self) -> list[np.ndarray]:
        """All edges in each conditional column, and the ends of what the windows reach."""
        width = reach(np.array([b.softness for b in self.bins]), np.float32)
        edges = []
        for i, name in enumerate(self.conditions):
            low, high = np.transpose([b.window[name] for b in self.bins])
            beyond = width[:, i] * (high - low)
            ends = [np.min(low - beyond), np.max(high + beyond)]
            edges.append(np.unique(np.concatenate([low, high, ends]).astype(np.float32)))
        return edges


def stack_bins(
    bins: Sequence[PretrainedBin], dtype: Any, form: str = "auto", platform: str = "cpu"
) -> list[tuple[Stack, StackData]]:
    """Stack pretrained bins of equal shape.

    Args:
        bins: the bins.
        dtype: floating-point type of the arrays.
        form: ``dense`` for sums over all samples in each bin, ``sparse`` for sums over sorted
            blocks within its reach, or ``auto`` for the one that is expected to be faster.
        platform: where they are computed. The sparse form is a loop over small blocks, made and
            measured for CPUs: elsewhere it is not taken by itself.
    """
    groups: dict[tuple, list[PretrainedBin]] = {}
    for pretrained in bins:
        bin_, counts = pretrained.bin, pretrained.counts
        kernels = 0 if bin_.config.kernels == 0 else counts.num_eval_kernels
        fourier = 0 if bin_.config.fourier == 0 else counts.num_eval_fourier_positions
        shapes = (np.shape(counts.kernel_centers), np.shape(counts.fourier_positions))
        key = (bin_.columns, tuple(bin_.window), kernels, fourier, bin_.hard, shapes)
        groups.setdefault(key, []).append(pretrained)
    stacked = []
    for (columns, conditions, kernels, fourier, hard, _), members in groups.items():
        faster = platform == "cpu" and _sparse_is_faster(members, kernels + fourier)
        stack = Stack(
            bins=tuple(p.bin for p in members),
            columns=columns,
            conditions=conditions,
            kernels=kernels,
            fourier=fourier,
            hard=hard,
            sparse=bool(conditions) and (form == "sparse" or (form == "auto" and faster)),
        )
        stacked.append((stack, _stack_data(members, dtype)))
    return stacked


def _sparse_is_faster(bins: Sequence[PretrainedBin], points: int) -> bool:
    """Whether sorting pays, by the share of the training samples that each bin reaches.

    Measured on CPU: a pair of sample and kernel takes 1.25 times as long in the sparse form, and
    sorting a sample as long as 40 pairs.
    """
    reached = sum(p.reached for p in bins)
    return 1.25 * reached + 40 / max(points, 1) < len(bins)


def _stack_data(bins: Sequence[PretrainedBin], dtype: Any) -> StackData:
    complex_dtype = np.result_type(dtype, np.complex64)

    def stacked(of: Callable[[PretrainedBin], Any], dtype: Any = dtype) -> np.ndarray:
        return np.stack([np.asarray(of(b), dtype) for b in bins])

    edges = stacked(lambda b: np.reshape(list(b.bin.window.values()), (-1, 2)))
    return StackData(
        low=edges[:, :, 0],
        high=edges[:, :, 1],
        softness=stacked(lambda b: b.bin.softness),
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
