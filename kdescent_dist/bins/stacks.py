"""Bins of equal shape, stacked into arrays so that they are computed together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kdescent_dist.bins.bin import Bin
from kdescent_dist.bins.bin_sums import BinArrays
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.bins.windows import reach


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StackArrays:
    """Arrays of m stacked bins of d columns and c conditional columns.

    Attributes:
        bins: the windows, and by the name of a statistic the p points of each bin to draw from.
        truth, errors: training counts and their errors, (m, p, parts), by the same names.
        training_sum: (m,) sums of the training weights, with their errors ``number_err``.
        number_density: (m,) whether the number-density term counts for the bin.
        weight: (m,) weights of the bins in the loss.
    """

    bins: BinArrays
    truth: dict[str, Any]
    errors: dict[str, Any]
    training_sum: Any
    number_err: Any
    number_density: Any
    weight: Any


@dataclass(frozen=True)
class BinStack:
    """What the m bins of one stack have in common, and so is known to the compiler.

    Attributes:
        bins: the bins.
        columns: d columns that are compared.
        conditions: c conditional columns.
        drawn: points drawn per bin and step, by the names of the statistics that are compared.
        every: names of the statistics of which a step takes all points, in their order.
        hard: of each conditional column, whether the windows have hard edges.
        sparse: whether each bin is computed from the samples within its reach alone.
    """

    bins: tuple[Bin, ...]
    columns: tuple[str, ...]
    conditions: tuple[str, ...]
    drawn: dict[str, int]
    every: frozenset[str]
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
    bins: Sequence[PretrainedBin], dtype: Any, sums: str = "auto", platform: str = "cpu"
) -> list[tuple[BinStack, StackArrays]]:
    """Stack pretrained bins of equal shape.

    Args:
        bins: the bins.
        dtype: floating-point type of the arrays.
        sums: ``dense`` for sums over all samples in each bin, ``sparse`` for sums over sorted
            blocks within its reach, or ``auto`` for the one that is expected to be faster.
        platform: where they are computed. Sparse sums are a loop over small blocks, made and
            measured for CPUs: elsewhere they are not taken by themselves.
    """
    groups: dict[tuple, list[PretrainedBin]] = {}
    for pretrained in bins:
        bin_, statistics = pretrained.bin, pretrained.statistics
        drawn = tuple((name, counts.drawn, counts.every) for name, counts in statistics.items())
        shapes = jax.tree.map(np.shape, [counts.points for counts in statistics.values()])
        key = (bin_.columns, tuple(bin_.window), drawn, bin_.hard, str(shapes))
        groups.setdefault(key, []).append(pretrained)
    stacked = []
    for (columns, conditions, drawn, hard, _), members in groups.items():
        numbers = {name: number for name, number, _ in drawn}
        faster = platform == "cpu" and _sparse_is_faster(members, sum(numbers.values()))
        stack = BinStack(
            bins=tuple(p.bin for p in members),
            columns=columns,
            conditions=conditions,
            drawn=numbers,
            every=frozenset(name for name, _, every in drawn if every),
            hard=hard,
            sparse=bool(conditions) and (sums == "sparse" or (sums == "auto" and faster)),
        )
        stacked.append((stack, _stack_data(members, stack.drawn, dtype)))
    return stacked


def _sparse_is_faster(bins: Sequence[PretrainedBin], points: int) -> bool:
    """Whether sorting pays, by the share of the training samples that each bin reaches.

    Measured on CPU: a pair of sample and kernel takes 1.25 times as long in sparse sums, and
    sorting a sample as long as 40 pairs.
    """
    reached = sum(p.reached for p in bins)
    return 1.25 * reached + 40 / max(points, 1) < len(bins)


def _stack_data(bins: Sequence[PretrainedBin], names: Iterable[str], dtype: Any) -> StackArrays:
    def stacked(of: Callable[[PretrainedBin], Any], dtype: Any = dtype) -> np.ndarray:
        return np.stack([np.asarray(of(b), dtype) for b in bins])

    def of_points(*arrays: Any) -> np.ndarray:
        array = np.stack(arrays)
        return array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array

    edges = stacked(lambda b: np.reshape(list(b.bin.window.values()), (-1, 2)))
    of_bins = {name: [b.statistics[name] for b in bins] for name in names}
    return StackArrays(
        bins=BinArrays(
            low=edges[:, :, 0],
            high=edges[:, :, 1],
            softness=stacked(lambda b: b.bin.softness),
            points={
                name: jax.tree.map(of_points, *(one.points for one in counts))
                for name, counts in of_bins.items()
            },
        ),
        truth={
            name: np.stack([c.values for c in counts]).astype(dtype)
            for name, counts in of_bins.items()
        },
        errors={
            name: np.stack([c.errors for c in counts]).astype(dtype)
            for name, counts in of_bins.items()
        },
        training_sum=stacked(lambda b: b.training_sum),
        number_err=stacked(lambda b: b.number_err),
        number_density=stacked(lambda b: b.bin.config.number_density, bool),
        weight=stacked(lambda b: b.bin.config.weight),
    )
