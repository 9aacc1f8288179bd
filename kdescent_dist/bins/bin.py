"""Conditional bins: a window in some columns, in which counts of other columns are compared.

A config defines bins as a grid, by edges in one or several columns, or as named windows.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.bins.validate import check_bins
from kdescent_dist.bins.windows import window_weights
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import BinsConfig, softness_by_column
from kdescent_dist.numerics.arrays import unmasked

# A bin drops samples whose weight, window included, is at most this times the largest weight.
NEGLIGIBLE_WINDOW = 1e-6


@dataclass(frozen=True)
class Bin:
    """One conditional bin.

    Attributes:
        name: unique name, such as ``ri[redshift 0.1-0.3]``.
        group: key of the config under which the bin is defined.
        window: conditional columns to (low, high); empty for a bin of all samples.
        config: config of the bin or of its grid.
    """

    name: str
    group: str
    window: Mapping[str, tuple[float, float]]
    config: BinsConfig

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.config.columns)

    @property
    def softness(self) -> tuple[float, ...]:
        """Softness of the window in each conditional column."""
        return softness_by_column(self.config.softness, self.window)

    @property
    def hard(self) -> tuple[bool, ...]:
        """For each conditional column, whether the edges are hard; known at compile time."""
        return tuple(softness == 0 for softness in self.softness)

    def weights(self, columns: Mapping[str, Any]) -> Any:
        """Window weights (n,) of samples; ``columns`` are names to columns, each (n,)."""
        conditions = [columns[name] for name in self.window]
        low, high = zip(*self.window.values(), strict=True) if self.window else ((), ())
        return window_weights(conditions, low, high, self.softness, columns[self.columns[0]])

    def count(
        self, columns: Mapping[str, np.ndarray], margin: float | Sequence[float] | np.ndarray = 0.0
    ) -> int:
        """Number of samples within the hard edges of the window.

        Args:
            columns: names to columns of the samples, each (n,).
            margin: distance beyond the edges up to which samples count, in units of the width of
                the bin; one number, or one number per conditional column.
        """
        inside = np.ones(len(columns[self.columns[0]]), bool)
        margins = np.broadcast_to(margin, len(self.window)).tolist()
        for (name, (low, high)), of_column in zip(self.window.items(), margins, strict=True):
            values, beyond = unmasked(columns[name]), of_column * (high - low)
            inside &= (values >= low - beyond) & (values < high + beyond)
        return int(inside.sum())


def expand_bins(grids: Mapping[str, BinsConfig]) -> list[Bin]:
    """List every bin of every grid; the last conditional column varies fastest.

    Args:
        grids: ``bins`` of a config, with edges as lists, see ``edges.resolve_grids``.

    Raises:
        InputError: a value is not allowed, or edges are no list; the message names the key.
    """
    bins = []
    for group, config in grids.items():
        check_bins(f"bins.{group}", config)
        for name, window in _windows(group, config):
            bins.append(Bin(name, group, window, config))
    return bins


def _windows(
    group: str, config: BinsConfig
) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Name and window of each bin of a group."""
    for name, window in config.windows.items():
        yield (
            f"{group}[{name}]",
            {c: (float(low), float(high)) for c, (low, high) in window.items()},
        )
    if config.windows:
        return
    per_column = []
    for column, edges in config.edges.items():
        if isinstance(edges, Mapping):
            raise InputError(
                f"bins.{group}.edges.{column}: {dict(edges)} is no list of edges yet: "
                "resolve_grids finds them in the training data"
            )
        pairs = itertools.pairwise(edges)
        per_column.append([(column, (float(low), float(high))) for low, high in pairs])
    for cell in itertools.product(*per_column):
        yield cell_name(group, config, dict(cell)), dict(cell)


def cell_name(group: str, config: BinsConfig, window: Mapping[str, tuple[float, float]]) -> str:
    """Name of a bin of a grid, with enough digits to distinguish all edges of a column."""
    parts = []
    for column, (low, high) in window.items():
        edges = {float(e) for e in config.edges[column]}
        for digits in range(6, 18):
            if len({f"{e:.{digits}g}" for e in edges}) == len(edges):
                break
        parts.append(f"{column} {low:.{digits}g}-{high:.{digits}g}")
    return f"{group}[{', '.join(parts)}]" if parts else group


def required_columns(grids: Mapping[str, BinsConfig]) -> list[str]:
    """Columns that the bins compare or condition on, each once, in order of appearance."""
    names: list[str] = []
    for config in grids.values():
        names += [*config.columns, *config.edges]
        names += [column for window in config.windows.values() for column in window]
    return list(dict.fromkeys(names))
