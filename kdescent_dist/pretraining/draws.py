"""The density of a training sample, which can be sampled and evaluated."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.numerics import threefry
from kdescent_dist.numerics.xla_order import prefix_sums, total
from kdescent_dist.pretraining.chunks import Counting
from kdescent_dist.pretraining.column_widths import ColumnWidths
from kdescent_dist.pretraining.counting import count_kernels
from kdescent_dist.pretraining.sample import TrainingSample
from kdescent_dist.pretraining.validate import cholesky_factor

T = TypeVar("T")


@dataclass(frozen=True)
class KernelDensity:
    """Gaussian kernel density estimate with the bandwidth of Scott (1992).

    This class implements ``counts.placement.TrainingDensity``.

    Attributes:
        rows: training samples.
        options: method and devices for the evaluation.
        robust: whether covariance and spread are those of ``ColumnWidths``.
        covariance: see ``TrainingDensity``.
    """

    rows: TrainingSample
    options: Counting = field(default_factory=Counting)
    robust: bool = False
    covariance: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Find the covariance; all processes must create their objects together."""
        covariance = self.rows.moments.covariance
        if self.robust:
            covariance = ColumnWidths.of(self.rows).covariance(self.rows)
        object.__setattr__(self, "covariance", covariance)

    @property
    def dtype(self) -> Any:
        return self.rows.dtype

    @property
    def weight(self) -> float:
        return self.rows.moments.weight

    @property
    def mean(self) -> np.ndarray:
        return self.rows.moments.mean

    @cached_property
    def kernel_cov(self) -> np.ndarray:
        """(d, d) covariance of the kernels."""
        moments = self.rows.moments
        effective = moments.weight**2 / moments.square
        factor = effective ** (-1.0 / (self.rows.dims + 4))
        return (self.covariance * factor**2).astype(self.rows.dtype)

    def spread(self) -> np.ndarray:
        if not self.robust:
            return self.rows.spread()
        return ColumnWidths.of(self.rows, weighted=False).width

    def draw(self, key: np.ndarray, number: int) -> np.ndarray:
        """Draw training samples by inverting the cumulative weights, and add kernel offsets."""
        rows, dtype = self.rows, self.rows.dtype
        key_row, key_offset, *key_block = threefry.split(key, 2 if rows.count == 1 else 3)
        level = 1 - threefry.uniform(key_row, (number,), dtype)
        block = _draw_blocks(key_block[0], rows, number) if key_block else np.zeros(number, int)
        order = np.argsort(block, kind="stable")
        drawn = np.zeros((number, rows.dims), dtype)
        for b, ((x, _), cumulative) in enumerate(
            zip(rows.blocks, self._cumulative, strict=True), start=rows.first
        ):
            here = order[slice(*np.searchsorted(block[order], [b, b + 1]))]
            if len(here):
                drawn[here] = x[np.searchsorted(cumulative, cumulative[-1] * level[here])]
        drawn = rows.processes.merged(drawn)
        factor = cholesky_factor(self.kernel_cov)
        least = np.nextafter(dtype.type(-1), dtype.type(0))
        unit = threefry.uniform(key_offset, (number, rows.dims), dtype, least)
        return self.agreed(lambda: drawn + np.asarray(_offsets(unit, factor)))

    def at(self, x: np.ndarray) -> np.ndarray:
        return count_kernels(self.rows, x, self.kernel_cov, self.options)[0]

    def agreed(self, work: Callable[[], T]) -> T:
        return self.rows.processes.on_primary(work)

    @cached_property
    def _cumulative(self) -> list[np.ndarray]:
        """(n,) cumulative weights up to 1, for each block of this process."""
        return [_cumulative(x, w) for x, w in self.rows.blocks]


def _cumulative(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    if weights is None:
        return prefix_sums(np.full(len(x), 1 / len(x), x.dtype))
    if not weights.any():
        return weights
    return prefix_sums(weights * (1 / total(weights)))  # XLA divides by a scalar in this way


def _draw_blocks(key: np.ndarray, rows: TrainingSample, number: int) -> np.ndarray:
    """Draw a block for each of ``number`` draws, with the blocks' weights."""
    weights = np.zeros(rows.count)
    for b, (x, w) in enumerate(rows.blocks, start=rows.first):
        weights[b] = len(x) if w is None else np.sum(w, dtype=float)
    cumulative = np.cumsum(rows.processes.merged(weights))
    level = 1 - threefry.uniform(key, (number,), np.dtype(np.float64))
    return np.searchsorted(cumulative, cumulative[-1] * level)


@jax.jit
def _offsets(unit: jax.Array, factor: jax.Array) -> jax.Array:
    """Turn uniform numbers (number, d) from (-1, 1) into normal numbers of covariance ``F F^T``."""
    normal = np.sqrt(2).astype(unit.dtype) * jax.lax.erf_inv(unit)
    return jnp.einsum("ij,nj->ni", factor, normal)
