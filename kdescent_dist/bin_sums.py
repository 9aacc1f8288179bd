"""Sums over the samples in each bin: kernel and Fourier counts at the kernels drawn in a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins import Stack, StackData
from kdescent_dist.counts import fourier_counts, kde_counts
from kdescent_dist.population import Population


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BinSums:
    """Sums over the samples in the m bins of one group.

    Attributes:
        weight: (m,) sums of weights.
        kde: (m, kernels) kernel counts.
        fourier: (m, modes) Fourier counts, complex.
    """

    weight: Any
    kde: Any
    fourier: Any


@dataclass(frozen=True)
class Draw:
    """The kernels and modes of one step for one stack, and what the training catalog has there.

    Attributes:
        centers: (kernel blocks, m, kernels of a block, d) kernel centers.
        modes: (kernel blocks, m, modes of a block, d) Fourier modes.
        truth: the training sums at them.
        kde_err: (m, kernels) errors of the training kernel counts.
        fourier_err: (m, modes) errors of the training Fourier counts, complex.
    """

    centers: jax.Array
    modes: jax.Array
    truth: BinSums
    kde_err: jax.Array
    fourier_err: jax.Array


def draw_kernels(
    stacks: Sequence[Stack], arrays: Sequence[StackData], key: jax.Array, kernel_blocks: int
) -> list[Draw]:
    """Draw the kernels and modes of each bin, uniformly and with replacement.

    Args:
        stacks, arrays: the stacked bins.
        key: random key, of one draw for all of them: each draw costs compile time.
        kernel_blocks: number of parts into which kernels and modes are cut.
    """
    sizes = [len(s.bins) * count for s in stacks for count in (s.kernels, s.fourier)]
    bits = iter(jnp.split(jax.random.bits(key, (sum(sizes),)), np.cumsum(sizes)[:-1]))
    draws = []
    for stack, data in zip(stacks, arrays, strict=True):

        def rows(table: jax.Array, count: int, bins: int = len(stack.bins)) -> jax.Array:
            # The remainder favors the first rows by 1 in 2^32 / rows: nothing.
            return next(bits).reshape(bins, count) % table.shape[1]

        kernels, modes = rows(data.centers, stack.kernels), rows(data.modes, stack.fourier)
        draws.append(
            Draw(
                centers=_split(_take(data.centers, kernels), kernel_blocks),
                modes=_split(_take(data.modes, modes), kernel_blocks),
                truth=BinSums(
                    data.training_sum,
                    _take(data.kde_truth, kernels),
                    _take(data.fourier_truth, modes),
                ),
                kde_err=_take(data.kde_err, kernels),
                fourier_err=_take(data.fourier_err, modes),
            )
        )
    return draws


def _take(table: jax.Array, rows: jax.Array) -> jax.Array:
    """Rows (m, k) of each of m tables (m, p, ...)."""
    return jax.vmap(lambda table, rows: table[rows])(table, rows)


def _split(values: jax.Array, parts: int) -> jax.Array:
    """Cut (m, k, d) into (parts, m, ceil(k / parts), d), repeating the last to fill up."""
    bins, count, dims = values.shape
    padded = -(-count // parts) * parts
    if padded > count:
        values = jnp.concatenate([values, jnp.repeat(values[:, -1:], padded - count, 1)], 1)
    return values.reshape(bins, parts, padded // parts, dims).swapaxes(0, 1)


def joined(values: jax.Array, count: int) -> jax.Array:
    """The reverse of ``_split``: (parts, m, k / parts) to (m, count)."""
    return values.swapaxes(0, 1).reshape(values.shape[1], -1)[:, :count]


def stack_sums(
    stack: Stack, data: StackData, draw: Draw, kernel_block: jax.Array, population: Population
) -> dict[str, jax.Array]:
    x = jnp.stack([population.x[name] for name in stack.columns], axis=1)
    weights = stack.window(data, population.x) * population.weights

    # Whitened samples of each bin would otherwise be kept for the backward pass.
    @jax.checkpoint
    def of_bin(args):
        weights, centers, cov, modes = args
        kde = kde_counts(x, weights, centers, cov)
        fourier = fourier_counts(x, weights, modes)
        return {"weight": weights.sum(), "kde": kde, "cos": fourier.real, "sin": fourier.imag}

    return jax.lax.map(
        of_bin, (weights, draw.centers[kernel_block], data.cov, draw.modes[kernel_block])
    )
