"""Bins of equal shape, stacked into arrays to be computed together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from kdescent_dist.bins.bin import Bin
from kdescent_dist.bins.bin_sums import BinArrays
from kdescent_dist.bins.expected_errors import unit_variances
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.bins.training_errors import training_errors
from kdescent_dist.bins.windows import reach
from kdescent_dist.counts.statistics import statistic


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StackArrays:
    """Arrays of m stacked bins of d columns and c conditional columns.

    Attributes:
        bins: windows, and for each statistic the p points of each bin to draw from.
        truth: names of statistics to training counts, (m, p, parts).
        errors: names of statistics to errors of the normalized training counts, (m, p, parts), see
            ``training_errors``.
        training_sum: (m,) sums of the training weights.
        number_err: (m,) errors of ``training_sum``.
        unit_variances: names of statistics to (m,) results of ``expected_errors.unit_variances``.
        number_density: (m,) whether the number-density term counts for the bin.
        weight: (m,) weights of the bins in the loss.
    """

    bins: BinArrays
    truth: dict[str, Any]
    errors: dict[str, Any]
    training_sum: Any
    number_err: Any
    unit_variances: dict[str, Any]
    number_density: Any
    weight: Any


@dataclass(frozen=True)
class BinStack:
    """The properties of a stack of m bins that are known at compile time.

    Attributes:
        bins: the bins.
        positions: positions of the bins among all bins of the objective.
        columns: d compared columns.
        conditions: c conditional columns.
        drawn: names of the compared statistics to numbers of points per bin and step.
        every: names of the statistics of which a step uses all points, in order.
        hard: for each conditional column, whether the windows have hard edges.
        sparse: whether each bin sums only over blocks of samples in its reach.
    """

    bins: tuple[Bin, ...]
    positions: tuple[int, ...]
    columns: tuple[str, ...]
    conditions: tuple[str, ...]
    drawn: dict[str, int]
    every: frozenset[str]
    hard: tuple[bool, ...]
    sparse: bool

    @property
    def kinds(self) -> tuple[str, ...]:
        """The normalization of the counts of each bin."""
        return tuple(b.config.normalization for b in self.bins)

    @property
    def edges(self) -> list[np.ndarray]:
        """For each conditional column, all edges and the ends of the reach of all windows."""
        width = reach(np.array([b.softness for b in self.bins]), np.float32)
        edges = []
        for i, name in enumerate(self.conditions):
            low, high = np.transpose([b.window[name] for b in self.bins])
            beyond = width[:, i] * (high - low)
            ends = [np.min(low - beyond), np.max(high + beyond)]
            edges.append(np.unique(np.concatenate([low, high, ends]).astype(np.float32)))
        return edges


def stack_bins(
    bins: Sequence[PretrainedBin],
    weight: float,
    dtype: Any,
    sums: str = "auto",
    platform: str = "cpu",
) -> list[tuple[BinStack, StackArrays]]:
    """Stack pretrained bins of equal shape.

    Args:
        bins: the bins.
        weight: sum of the weights of all training samples.
        dtype: floating-point type of the arrays.
        sums: ``dense`` sums over all samples in each bin, ``sparse`` sums over the sorted blocks
            in reach of each bin, and ``auto`` chooses the form that is expected to be faster.
        platform: platform of the devices. ``auto`` chooses sparse sums on ``cpu`` only, because
            these loops over small blocks are designed for CPUs and were measured on CPUs.
    """
    groups: dict[tuple, dict[int, PretrainedBin]] = {}
    for position, pretrained in enumerate(bins):
        bin_, statistics = pretrained.bin, pretrained.statistics
        drawn = tuple((name, counts.drawn, counts.every) for name, counts in statistics.items())
        shapes = jax.tree.map(np.shape, [counts.points for counts in statistics.values()])
        key = (bin_.columns, tuple(bin_.window), drawn, bin_.hard, str(shapes))
        groups.setdefault(key, {})[position] = pretrained
    stacked = []
    for (columns, conditions, drawn, hard, _), found in groups.items():
        members = list(found.values())
        points = {name: number for name, number, _ in drawn}
        faster = platform == "cpu" and _sparse_is_faster(members, sum(points.values()))
        stack = BinStack(
            bins=tuple(p.bin for p in members),
            positions=tuple(found),
            columns=columns,
            conditions=conditions,
            drawn=points,
            every=frozenset(name for name, _, every in drawn if every),
            hard=hard,
            sparse=bool(conditions) and (sums == "sparse" or (sums == "auto" and faster)),
        )
        stacked.append((stack, _stack_data(members, stack.drawn, weight, dtype)))
    return stacked


def _sparse_is_faster(bins: Sequence[PretrainedBin], points: int) -> bool:
    """Whether sparse sums are expected to be faster, from the fraction of samples in reach.

    Measured on CPUs: a pair of a sample and a kernel takes 1.25 times as long in sparse sums as in
    dense sums, and sorting a sample takes as long as 40 pairs.
    """
    reached = sum(p.reached for p in bins)
    return 1.25 * reached + 40 / max(points, 1) < len(bins)


def _stack_data(
    bins: Sequence[PretrainedBin], names: Iterable[str], weight: float, dtype: Any
) -> StackArrays:
    def stacked(of: Callable[[PretrainedBin], Any], dtype: Any = dtype) -> np.ndarray:
        return np.stack([np.asarray(of(b), dtype) for b in bins])

    def of_points(*arrays: Any) -> np.ndarray:
        array = np.stack(arrays)
        return array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array

    edges = stacked(lambda b: np.reshape(list(b.bin.window.values()), (-1, 2)))
    errors = [training_errors(b, weight, dtype) for b in bins]
    variances = [unit_variances(b, weight) for b in bins]
    of_bins = {name: [b.statistics[name] for b in bins] for name in names}
    return StackArrays(
        bins=BinArrays(
            low=edges[:, :, 0],
            high=edges[:, :, 1],
            softness=stacked(lambda b: b.bin.softness),
            points={
                name: jax.tree.map(of_points, *(statistic(name).ready(c.points) for c in counts))
                for name, counts in of_bins.items()
            },
        ),
        truth={
            name: np.stack([c.values for c in counts]).astype(dtype)
            for name, counts in of_bins.items()
        },
        errors={name: np.stack([of_bin[name] for of_bin in errors]) for name in of_bins},
        training_sum=stacked(lambda b: b.training_sum),
        number_err=stacked(lambda b: b.number_err),
        unit_variances={
            name: np.array([one[name] for one in variances], dtype) for name in ("", *of_bins)
        },
        number_density=stacked(lambda b: b.bin.config.number_density, bool),
        weight=stacked(lambda b: b.bin.config.weight),
    )
