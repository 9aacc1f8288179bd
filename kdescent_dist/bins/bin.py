"""Conditional bins: a window on some columns, within which counts of other columns are compared.

Bins are written as a grid, by the edges of one or several columns, or as windows by name.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.validate import check_bins
from kdescent_dist.bins.windows import reach, window_weights
from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.config.schema import BinsConfig, softness_by_column
from kdescent_dist.distributed.row_blocks import RowBlocks
from kdescent_dist.numerics.arrays import unmasked
from kdescent_dist.pretraining.pretrainer import PRETRAINED_PER_DRAWN, KPretrainer
from kdescent_dist.pretraining.sample import TrainingRows
from kdescent_dist.pretraining.validate import float_array

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


@dataclass(frozen=True)
class PretrainedBin:
    """A bin and what the training catalog has in it.

    Attributes:
        bin: the bin.
        counts: training counts at the kernels and modes to draw from.
        training_count: training samples within the hard edges.
        number_err: error of the sum of training weights, the root of the sum of their squares.
        reached: fraction of all training samples whose weight in the window is not negligible.
    """

    bin: Bin
    counts: KPretrainer
    training_count: int
    number_err: float
    reached: float


def pretrain_bin(
    bin_: Bin,
    columns: Mapping[str, np.ndarray],
    weights: np.ndarray,
    seed: int,
    mesh: Any = None,
    counts: KPretrainer | None = None,
    method: str = "auto",
    rows: RowBlocks | None = None,
) -> PretrainedBin:
    """Precompute the training counts of one bin.

    The training samples carry the window of the bin as weights, as the model's will, so that at
    the true parameters the expectation of both counts is the same also at soft edges.

    Args:
        bin_: the bin.
        columns: training columns, each (n,), of all rows or of those that ``rows`` says.
        weights: (n,) training weights of these rows.
        seed: random seed of the kernel centers and Fourier modes.
        mesh: devices over which the work on these rows is sharded.
        counts: training counts that were computed before, from the same arguments.
        method: how they are computed, see ``KPretrainer.from_training_data``.
        rows: which rows of the training catalog this process holds, by default all of them. The
            result is that of the whole catalog in every process, and the same bits however many
            share it; all call this together.

    Raises:
        InputError: a column is missing; a value of it or a weight is masked or not finite, or a
            weight is negative; the bin holds fewer training samples than its ``min_training``,
            or a column does not vary in it.
    """
    config = bin_.config
    rows = RowBlocks(len(weights)) if rows is None else rows
    columns = _checked_columns(bin_, columns, rows)
    weights = _checked_weights(weights, rows)
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
    except InputError as error:
        raise InputError(_in_bin(bin_, str(error))) from error
    number_err = float(np.sqrt(sample.moments.square))
    margins = reach(np.array(bin_.softness), sample.dtype)
    reached = rows.added_up(bin_.count(columns, margins)) / rows.total
    return PretrainedBin(bin_, counts, count, number_err, reached)


def _sample(
    bin_: Bin, columns: Mapping[str, np.ndarray], weights: np.ndarray, rows: RowBlocks
) -> TrainingRows:
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
    return TrainingRows(blocks, rows.own[0], rows.count, dims, dtype, rows.processes)


def _count(bin_: Bin, sample: TrainingRows, seed: int, mesh: Any, method: str) -> KPretrainer:
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


def finite_column(
    key: str, name: str, columns: Mapping[str, np.ndarray], rows: RowBlocks | None = None
) -> np.ndarray:
    """A column of the training catalog, all values of which are finite.

    Args:
        key: names where it is asked for, in messages.
        name: its name.
        columns: training columns, each (n,), of all rows or of those that ``rows`` says.
        rows: which rows this process holds.

    Raises:
        InputError: it is missing, or a value is masked or not finite in the precision of a fit.
    """
    if name not in columns:
        raise InputError(f"{key}: no column {name!r}: {closest(name, columns)}")
    values = np.asarray(unmasked(columns[name]))
    rows = RowBlocks(len(values)) if rows is None else rows
    held = float_array(values, f"{key}: column {name!r}")
    if bad := rows.added_up(int(np.count_nonzero(~np.isfinite(held)))):
        raise InputError(
            f"{key}: {bad} of {rows.total} values of column {name!r} are NaN or infinite in "
            f"{held.dtype}: leave these rows out"
        )
    return values


def _in_bin(bin_: Bin, message: str) -> str:
    """A message about the matrix of compared columns, told by the names of bin and columns."""
    names = dict(enumerate(bin_.columns))
    message = message.removeprefix("training_x: ")
    message = re.sub(r"column (\d+)", lambda m: f"column {names[int(m[1])]!r}", message)
    columns = ", ".join(bin_.columns)
    return f"bins.{bin_.group}: bin {bin_.name!r} of columns {columns}: {message}"
