"""Sums in many bins, each from the blocks of sorted samples that its window reaches.

One loop over pairs of a bin and a block, whose number is known at run time, in both passes: what
bins cost is what their samples cost, and nothing of samples x bins is held in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kdescent_dist.bins.plain_sparse import plain_sparse_sums
from kdescent_dist.bins.sorting import cut, pairs_within_reach
from kdescent_dist.bins.windows import traced_softness, window_weights
from kdescent_dist.counts.fourier import gradient_rows, make_waves, near_origin, rotate
from kdescent_dist.counts.kde import block_gradients, kernel_values, whitening
from kdescent_dist.counts.squares import as_squares
from kdescent_dist.numerics.differentiable import differentiable
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.numerics.vector_math import phase_turns

Columns = Sequence[jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BinArrays:
    """Windows, kernels and modes of m bins of d columns and c conditional columns.

    Attributes:
        low, high: (m, c) edges of the windows.
        softness: (m, c) softness of the windows.
        centers: (m, kernels, d) kernel centers, with their covariance (m, d, d).
        modes: (m, modes, d) Fourier modes.
    """

    low: Any
    high: Any
    softness: Any
    centers: Any
    cov: Any
    modes: Any


def sparse_sums(
    x: Columns,
    conditions: Columns,
    weights: jax.Array,
    bins: BinArrays,
    hard: tuple[bool, ...],
    squares: bool = False,
) -> dict[str, Any]:
    """Sum weights, kernels and waves over the samples in each bin.

    Differentiable with respect to the samples, not with respect to ``bins``.
    Samples beyond the reach of a window (``windows.reach``) are left out.

    Args:
        x: d columns that are compared, each (n,), of samples that are sorted by the conditional
            columns: any order gives the same sums, at another cost.
        conditions: c conditional columns, each (n,).
        weights: (n,) weights.
        bins: the bins.
        hard: of each conditional column, whether the windows have hard edges.
        squares: whether to sum squares as well.

    Returns:
        Sums (m, ...) of ``weight``, of ``kde`` counts, and of ``cos`` and ``sin`` waves; and as
        ``squares``, by the same names, those of the squares of what each sample adds, which are
        constants to any derivative.
    """
    columns = cut([*x, *conditions], len(bins.low))
    shape = columns[0].shape
    padded = jnp.pad(weights, (0, shape[0] * shape[1] - len(weights))).reshape(shape)
    blocks = (columns[: len(x)], columns[len(x) :], padded)
    bins = lax.stop_gradient(bins)
    tables: Any = _sums(hard, squares, blocks, bins)
    sums = _named(tables[0], bins)
    if squares:
        doubled = _named(lax.stop_gradient(tables[1]), bins)
        sums["squares"] = as_squares(doubled, bins.cov)
    return sums


def _named(table: jax.Array, bins: BinArrays) -> dict[str, Any]:
    weight, kde, cos, sin = _split(table, bins)
    return {"weight": weight[:, 0], "kde": kde, "cos": cos, "sin": sin}


def _split(table: Any, bins: BinArrays) -> list[jax.Array]:
    """The sums of weights, kernels, cosines and sines in a table (m, ...) of all."""
    kernels, modes = bins.centers.shape[1], bins.modes.shape[1]
    return jnp.split(table, [1, 1 + kernels, 1 + kernels + modes], axis=1)


def _fast_sums(
    hard: tuple[bool, ...],
    squares: bool,
    blocks: tuple[Columns, Columns, jax.Array],
    bins: BinArrays,
) -> tuple[jax.Array, jax.Array]:
    """All sums of each bin side by side, (m, 1 + kernels + 2 modes), and what squares follow from.

    The latter is a table of the same shape, of squared weights, kernels of half the covariance
    and waves of twice the frequency; or of no rows without ``squares``.
    """
    pairs = _Pairs(hard, blocks, bins)

    def add(i: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        bin_, block, columns, (within, _), weights = pairs.at(i)
        square = weights * weights
        more = [matmul(within, blocks[2][block])[None]]
        doubled = [matmul(weights, weights)[None]] if squares else []
        if pairs.kernels:
            kernels = kernel_values(*pairs.whitened(bin_, columns))
            more.append(matmul(kernels, weights))
            if squares:
                doubled.append(matmul(kernels * kernels, square))
        if pairs.modes:
            cos, sin = pairs.waves(bin_, columns)
            more += [matmul(wave, weights) for wave in (cos, sin)]
            if squares:
                twice = (cos * cos - sin * sin, 2.0 * cos * sin)
                doubled += [matmul(wave, square) for wave in twice]
        # Pairs come by bin, so that the table is only written: one that is read as well would be
        # copied at every pair. What rounding took from the sum is added with the next block (Kahan
        # 1965): a bin may have any number of blocks.
        table, before, total, lost = sums
        total, lost = (jnp.where(bin_ == before, part, 0) for part in (total, lost))
        change = jnp.concatenate(more + doubled) - lost
        after = total + change
        table = lax.dynamic_update_index_in_dim(table, after, bin_, 0)
        return table, bin_, after, (after - total) - change

    width = 1 + pairs.kernels + 2 * pairs.modes
    row = jnp.zeros((1 + squares) * width, pairs.dtype)
    table = jnp.zeros((len(bins.low), len(row)), pairs.dtype)
    table, *_ = lax.fori_loop(0, pairs.count, add, (table, jnp.int32(-1), row, row))

    def finished(table: jax.Array, norm: jax.Array, turns: jax.Array) -> jax.Array:
        weight, kde, cos, sin = _split(table, bins)
        cos, sin = rotate(cos, sin, turns)
        return jnp.concatenate([weight, norm[:, None] * kde, cos, sin], axis=1)

    sums = finished(table[:, :width], pairs.norm, pairs.turns)
    if not squares:
        return sums, table[:0]
    narrow = 2.0 ** (0.5 * len(blocks[0])) * pairs.norm
    return sums, finished(table[:, width:], narrow, 2.0 * pairs.turns)


def _backward(hard, squares, saved, cotangents):
    blocks, bins = saved
    cotangent, _ = cotangents
    pairs = _Pairs(hard, blocks, bins)
    grad_weight, grad_kde, grad_cos, grad_sin = _split(cotangent, bins)
    grad_kde = pairs.norm[:, None] * grad_kde
    grad_cos, grad_sin = rotate(grad_cos, grad_sin, -pairs.turns)
    of_cos, of_sin = gradient_rows(bins.modes, grad_cos, grad_sin)

    def add(i: jax.Array, gradients: Any) -> Any:
        bin_, block, columns, window, weights = pairs.at(i)
        total = grad_weight[bin_]
        slopes = [jnp.zeros_like(weights)] * len(columns)
        if pairs.kernels:
            z, centers = pairs.whitened(bin_, columns)
            white, of_weights = block_gradients(z, weights, centers, grad_kde[bin_])
            slopes, total = pairs.whiten(bin_).pull_back(white), total + of_weights
        if pairs.modes:
            cos, sin = pairs.waves(bin_, columns)
            of_weights, *waves = matmul(of_cos[bin_], cos) + matmul(of_sin[bin_], sin)
            slopes = [a + weights * b for a, b in zip(slopes, waves, strict=True)]
            total = total + of_weights
        within, pull = window
        in_block = (slopes, list(pull(total * blocks[2][block])), total * within)
        return jax.tree.map(lambda sums, more: sums.at[block].add(more), gradients, in_block)

    zeros = jax.tree.map(jnp.zeros_like, (list(blocks[0]), list(blocks[1]), blocks[2]))
    return lax.fori_loop(0, pairs.count, add, zeros), None


def _plain_sums(hard, squares, blocks, bins):
    """The same in plain operations. What squares follow from is a constant to any derivative."""
    pairs = _Pairs(hard, blocks, bins)
    sums = plain_sparse_sums(hard, blocks, bins, pairs.reached, pairs.origin)
    return sums, jnp.zeros_like(sums if squares else sums[:0])


_sums = differentiable(_fast_sums, _backward, _plain_sums, static=2)


class _Pairs:
    """Pairs of a bin and a block, and what both passes compute of each."""

    def __init__(
        self,
        hard: tuple[bool, ...],
        blocks: tuple[Columns, Columns, jax.Array],
        bins: BinArrays,
    ) -> None:
        self.x, self.conditions, self.weights = blocks
        self.hard, self.bins = hard, bins
        self.dtype = self.weights.dtype
        self.kernels, self.modes = bins.centers.shape[1], bins.modes.shape[1]
        finite = [jnp.all(jnp.isfinite(a), axis=1) for a in (*self.x, self.weights)]
        self.listed, self.count = pairs_within_reach(
            self.conditions, bins.low, bins.high, bins.softness, ~jnp.all(jnp.stack(finite), axis=0)
        )
        if self.kernels:
            self._whiten, self._centers, self.norm = jax.vmap(whitening)(bins.centers, bins.cov)
        else:
            self.norm = jnp.ones(len(bins.low), self.dtype)
        self.origin = near_origin(jnp.stack([column.reshape(-1) for column in self.x], axis=1))
        flat = bins.modes.reshape(-1, len(self.x))
        self.turns = phase_turns(flat, self.origin).reshape(bins.modes.shape[:2])

    @property
    def reached(self) -> jax.Array:
        """Whether the window of a bin reaches a block, (m, blocks)."""
        pairs = jnp.arange(len(self.listed), dtype=self.listed.dtype)
        listed = jnp.where(pairs < self.count, self.listed, len(pairs))
        reached = jnp.zeros(len(pairs), bool).at[listed].set(True, mode="drop")
        return reached.reshape(len(self.bins.low), -1)

    def at(self, i: jax.Array) -> tuple[jax.Array, jax.Array, list[jax.Array], Any, jax.Array]:
        """Bin, block, its columns, window with its derivative, and weights of the i-th pair."""
        blocks = self.weights.shape[0]
        bin_, block = self.listed[i] // blocks, self.listed[i] % blocks
        low, high = self.bins.low[bin_], self.bins.high[bin_]
        softness = traced_softness(self.bins.softness[bin_], self.hard)
        weights = self.weights[block]

        def window(*conditions: jax.Array) -> jax.Array:
            return window_weights(conditions, list(low), list(high), softness, weights)

        within, pull = jax.vjp(window, *(column[block] for column in self.conditions))
        return bin_, block, [column[block] for column in self.x], (within, pull), within * weights

    def whiten(self, bin_: jax.Array) -> Any:
        return jax.tree.map(lambda of_bins: of_bins[bin_], self._whiten)

    def whitened(
        self, bin_: jax.Array, columns: list[jax.Array]
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """White coordinates of samples and of the kernel centers of a bin."""
        return self.whiten(bin_)(columns), [of_bins[bin_] for of_bins in self._centers]

    def waves(self, bin_: jax.Array, columns: list[jax.Array]) -> tuple[jax.Array, ...]:
        return make_waves(self.bins.modes[bin_])(columns, self.origin)
