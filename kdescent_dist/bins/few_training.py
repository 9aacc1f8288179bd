"""Bins with too few training samples: an error, left out, or merged with their neighbors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kdescent_dist.bins.bin import Bin, cell_name
from kdescent_dist.config.errors import InputError
from kdescent_dist.numerics.arrays import unmasked

MOST_CELLS = 2**20


def count_bins(bins: Sequence[Bin], columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Count the samples within the hard edges of each bin.

    The counts of a catalog are the sums of the counts of its parts.

    Args:
        bins: the bins.
        columns: names to columns of the samples, each (n,).

    Returns:
        (n_bins,) counts, int64.
    """
    columns = {name: unmasked(values) for name, values in columns.items()}
    counts = np.zeros(len(bins), np.int64)
    alike: dict[tuple[str, ...], list[int]] = {}
    for i, bin_ in enumerate(bins):
        alike.setdefault(tuple(bin_.window), []).append(i)
    for names, members in alike.items():
        edges = [
            # ``Bin.count`` compares in the precision of the column, too.
            np.unique(np.array([bins[i].window[name] for i in members], _floats(columns[name])))
            for name in names
        ]
        shape = tuple(len(e) + 1 for e in edges)
        if not names or math.prod(shape) > MOST_CELLS:
            counts[members] = [bins[i].count(columns) for i in members]
            continue
        cell = np.zeros(len(columns[names[0]]), np.int64)
        for name, its in zip(names, edges, strict=True):
            cell = cell * (len(its) + 1) + np.searchsorted(its, columns[name], side="right")
        cells = np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
        for i in members:
            spans = zip(edges, bins[i].window.values(), strict=True)
            within = [np.searchsorted(e, np.asarray(w, e.dtype)) + 1 for e, w in spans]
            counts[i] = cells[tuple(slice(low, high) for low, high in within)].sum()
    return counts


def _floats(values: np.ndarray) -> np.dtype:
    """The floating-point type in which a column is compared with edges."""
    return np.result_type(values.dtype, np.float32)


@dataclass
class Settled:
    """The record of ``settle_bins``.

    Attributes:
        used: number of remaining bins.
        dropped: names of bins that were left out to their counts.
        merged: names of merged bins to the names and counts of their original bins.
    """

    used: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    merged: dict[str, dict[str, int]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Lines for the log, one per bin that was left out or merged."""
        said = [
            f"{name}: left out, {count} training samples" for name, count in self.dropped.items()
        ]
        for name, parts in self.merged.items():
            counts = " + ".join(str(count) for count in parts.values())
            said.append(f"{name}: joined from {len(parts)} bins, {counts} training samples")
        return said


def settle_bins(
    bins: Sequence[Bin], counts: Sequence[int] | np.ndarray
) -> tuple[list[Bin], Settled]:
    """Apply ``few_training`` to bins with fewer than ``min_training`` training samples.

    - ``error``: all such bins are named in one error.
    - ``drop``: such bins are left out.
    - ``merge``: in each row of the grid, going up the last conditional column, a bin absorbs the
      next bins until it has enough samples. Leftovers join the last bin. A row that never has
      enough samples is left out.

    Args:
        bins: the result of ``expand_bins``.
        counts: (n_bins,) numbers of training samples within the hard edges, of all processes.

    Returns:
        The remaining bins, and a record of the changes.

    Raises:
        InputError: with ``error``, bins have too few samples; or a grid has no remaining bin.
    """
    groups: dict[str, list[tuple[Bin, int]]] = {}
    for bin_, count in zip(bins, counts, strict=True):
        groups.setdefault(bin_.group, []).append((bin_, int(count)))
    left: list[Bin] = []
    done = Settled()
    refused = []
    for group, members in groups.items():
        config = members[0][0].config
        few = [(b, n) for b, n in members if n < config.min_training]
        if few and config.few_training == "error":
            refused.append(_refusal(group, config.min_training, few))
            continue
        before = len(left)
        for parts in _joined(members):
            if sum(n for _, n in parts) < config.min_training:
                done.dropped |= {b.name: n for b, n in parts}
            elif len(parts) == 1:
                left.append(parts[0][0])
            else:
                left.append(_union([b for b, _ in parts]))
                done.merged[left[-1].name] = {b.name: n for b, n in parts}
        if len(left) == before:
            largest = max(n for _, n in members)
            refused.append(
                f"bins.{group}: no bin is left: the fullest of {len(members)} holds {largest} "
                f"training samples, fewer than min_training={config.min_training}"
            )
    if refused:
        raise InputError("; ".join(refused))
    done.used = len(left)
    return left, done


def _refusal(group: str, least: int, few: Sequence[tuple[Bin, int]]) -> str:
    advice = "widen the edges, lower min_training, or set few_training to merge or drop"
    if len(few) == 1:
        ((one, count),) = few
        return (
            f"bins.{group}: bin {one.name!r} holds {count} training samples, fewer than "
            f"min_training={least}: {advice}"
        )
    named = ", ".join(f"{bin_.name!r} ({count})" for bin_, count in few)
    return (
        f"bins.{group}: {len(few)} bins hold fewer training samples than min_training={least}: "
        f"{named}: {advice}"
    )


def _joined(members: Sequence[tuple[Bin, int]]) -> list[list[tuple[Bin, int]]]:
    """Sets of the bins of a group: a set becomes one bin, or is left out if it is too small."""
    config = members[0][0].config
    if config.few_training != "merge" or not config.edges:
        return [[one] for one in members]
    last = list(config.edges)[-1]
    rows: dict[Any, list[tuple[Bin, int]]] = {}
    for bin_, count in members:
        row = tuple(edges for column, edges in bin_.window.items() if column != last)
        rows.setdefault(row, []).append((bin_, count))
    joined = []
    for row in rows.values():
        sets: list[list[tuple[Bin, int]]] = []
        open_ = False  # whether the last set still needs samples
        for one in row:
            if open_:
                sets[-1].append(one)
            else:
                sets.append([one])
            open_ = sum(n for _, n in sets[-1]) < config.min_training
        if open_ and len(sets) > 1:
            rest = sets.pop()
            sets[-1] += rest
        joined += sets
    return joined


def _union(bins: Sequence[Bin]) -> Bin:
    """The union of neighbors along the last conditional column, given in ascending order."""
    first, last = bins[0], bins[-1]
    column = list(first.window)[-1]
    window = {**first.window, column: (first.window[column][0], last.window[column][1])}
    return replace(first, name=cell_name(first.group, first.config, window), window=window)
