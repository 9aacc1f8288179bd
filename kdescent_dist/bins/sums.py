"""Sums over the samples in each bin: kernel and Fourier counts at the kernels drawn in a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdescent_dist.bins.sorting import order_by_cells, permuted
from kdescent_dist.bins.sparse import BinArrays, sparse_sums
from kdescent_dist.bins.stacks import Stack, StackData
from kdescent_dist.bins.windows import traced_softness, window_weights
from kdescent_dist.counts.local import fourier_counts, kde_counts
from kdescent_dist.counts.squares import as_squares
from kdescent_dist.models.population import Population
from kdescent_dist.numerics.tiles import map_rows, matmul


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
    stacks: Sequence[Stack],
    arrays: Sequence[StackData],
    draws: Sequence[Draw],
    kernel_block: jax.Array,
    population: Population,
    orders: Mapping[str, jax.Array],
    form: str,
    squares: bool = False,
) -> list[dict[str, Any]]:
    """The sums of a population in the bins of each stack, at one block of kernels and modes.

    Args:
        stacks, arrays: the stacked bins.
        draws: their kernels and modes of the step.
        kernel_block: which block of them.
        population: the samples.
        orders: permutations (n,) that sort the samples by conditional columns, where they are
            known, by the names in ``sparse_groups``.
        form: form of the counts over all samples.
        squares: whether to sum squares as well.

    Returns:
        For each stack, sums (m, ...) of ``weight``, ``kde``, ``cos`` and ``sin``; and as
        ``squares``, by the same names, the sums of the squares of what each sample adds, which
        are constants to any derivative.
    """
    sums = []
    in_order = {
        name: _in_order(population, alike, orders.get(name))
        for name, alike in sparse_groups(stacks).items()
    }
    for stack, data, draw in zip(stacks, arrays, draws, strict=True):
        bins = BinArrays(
            data.low,
            data.high,
            data.softness,
            draw.centers[kernel_block],
            data.cov,
            draw.modes[kernel_block],
        )
        samples, of_bins = population, partial(_dense_sums, form)
        if stack.sparse:
            samples, of_bins = in_order[_order_name(stack)], sparse_sums
        x = [samples.x[column] for column in stack.columns]
        conditions = [samples.x[column] for column in stack.conditions]
        sums.append(of_bins(x, conditions, samples.weights, bins, stack.hard, squares))
    return sums


def sums_of_stack(stack: Stack, sums: Mapping[str, jax.Array]) -> BinSums:
    """The sums of one stack from those of each kernel block, (kernel blocks, m, ...)."""
    return BinSums(
        weight=sums["weight"][0],  # the same in every kernel block
        kde=joined(sums["kde"], stack.kernels),
        fourier=lax.complex(joined(sums["cos"], stack.fourier), joined(sums["sin"], stack.fourier)),
    )


def sparse_groups(stacks: Sequence[Stack]) -> dict[str, list[Stack]]:
    """Those stacks of sparse form that share an order of the samples, by a name of it."""
    groups: dict[str, list[Stack]] = {}
    for stack in stacks:
        if stack.sparse:
            groups.setdefault(_order_name(stack), []).append(stack)
    return groups


def _order_name(stack: Stack) -> str:
    return ", ".join(stack.conditions)


def order_of(population: Population, stacks: Sequence[Stack]) -> jax.Array:
    """The permutation (n,) that sorts samples by the conditional columns that stacks share."""
    names = stacks[0].conditions
    edges = [
        np.unique(np.concatenate(of_stacks))
        for of_stacks in zip(*(stack.edges for stack in stacks), strict=True)
    ]
    return order_by_cells([lax.stop_gradient(population.x[name]) for name in names], edges)


def _in_order(
    population: Population, stacks: Sequence[Stack], order: jax.Array | None
) -> Population:
    order = order_of(population, stacks) if order is None else order
    names = list(dict.fromkeys(c for s in stacks for c in (*s.columns, *s.conditions)))
    *columns, weights = permuted([population.x[c] for c in names] + [population.weights], order)
    return Population(dict(zip(names, columns, strict=True)), weights)


def _dense_sums(
    form: str,
    x: Sequence[jax.Array],
    conditions: Sequence[jax.Array],
    weights: jax.Array,
    bins: BinArrays,
    hard: tuple[bool, ...],
    squares: bool,
) -> dict[str, Any]:
    """As ``sparse_sums``, from all samples for each bin."""
    samples = jnp.stack(x, axis=1)

    def counts(x: jax.Array, in_bin: jax.Array, bin_: BinArrays) -> dict[str, jax.Array]:
        fourier = fourier_counts(x, in_bin, bin_.modes, form)
        kde = kde_counts(x, in_bin, bin_.centers, bin_.cov, form)
        return {"kde": kde, "cos": fourier.real, "sin": fourier.imag}

    # The window and the whitened samples of each bin would otherwise be kept for the backward pass.
    @jax.checkpoint
    def of_bin(bin_: BinArrays) -> dict[str, Any]:
        softness = traced_softness(bin_.softness, hard)
        within = window_weights(conditions, list(bin_.low), list(bin_.high), softness, weights)
        in_bin = within * weights
        sums: dict[str, Any] = {"weight": matmul(within, weights), **counts(samples, in_bin, bin_)}
        if squares:
            x, once = lax.stop_gradient((samples, in_bin))
            narrow = replace(bin_, cov=0.5 * bin_.cov, modes=2.0 * bin_.modes)
            doubled = {"weight": matmul(once, once), **counts(x, once * once, narrow)}
            sums["squares"] = as_squares(doubled, bin_.cov)
        return sums

    return map_rows(of_bin, bins)
