"""Conditional bins: a window on some columns, within which counts of other columns are compared.

Bins are written as a grid, by the edges of one or several columns, or as windows by name.
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

# Training samples whose window weight is below this are left out of a bin.
NEGLIGIBLE_WINDOW = 1e-6


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

    @property
    def softness(self) -> tuple[float, ...]:
        """Softness of the window in each conditional column."""
        return softness_by_column(self.config.softness, self.window)

    @property
    def hard(self) -> tuple[bool, ...]:
        """Whether the edges are hard in each conditional column, which is a matter of compiling."""
        return tuple(softness == 0 for softness in self.softness)

    def weights(self, columns: Mapping[str, Any]) -> Any:
        """Window weights (n,) of samples given by their columns, each (n,)."""
        conditions = [columns[name] for name in self.window]
        low, high = zip(*self.window.values(), strict=True) if self.window else ((), ())
        return window_weights(conditions, low, high, self.softness, columns[self.columns[0]])

    def count(
        self, columns: Mapping[str, np.ndarray], margin: float | Sequence[float] | np.ndarray = 0.0
    ) -> int:
        """Number of samples within the hard edges of the window.

        Args:
            columns: the samples by their columns, each (n,).
            margin: how far beyond the edges they are still counted, in units of the bin, in all
                conditional columns or in each.
        """
        inside = np.ones(len(columns[self.columns[0]]), bool)
        margins = np.broadcast_to(margin, len(self.window)).tolist()
        for (name, (low, high)), of_column in zip(self.window.items(), margins, strict=True):
            values, beyond = unmasked(columns[name]), of_column * (high - low)
            inside &= (values >= low - beyond) & (values < high + beyond)
        return int(inside.sum())


def expand_bins(grids: Mapping[str, BinsConfig]) -> list[Bin]:
    """List every bin of every grid, the last conditional column varying fastest.

    Args:
        grids: what ``bins`` of a config has. Edges that follow from the training data must have
            been resolved, see ``grids.resolve_grids``.

    Raises:
        InputError: names the value of a config that is out of range.
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
    """The name and the window of each bin of a group."""
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
    """Name of a bin of a grid, with as many digits as tell its edges from each other."""
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
