"""Sums over the samples in each bin, at the points that a step draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kdescent_dist.bins.bin_sums import BinSquares, BinSums
from kdescent_dist.bins.dense import dense_sums
from kdescent_dist.bins.sorting import order_by_cells, permuted
from kdescent_dist.bins.sparse import sparse_sums
from kdescent_dist.bins.stacks import BinStack, StackArrays
from kdescent_dist.counts.statistic import Points
from kdescent_dist.models.population import Population


@dataclass(frozen=True)
class DrawnPoints:
    """The points of one step for one stack, and the training sums at the points.

    Attributes:
        points: names of statistics to points; arrays ``each`` are cut into
            (kernel blocks, m, points of a block, ...), and arrays ``common`` are (m, ...).
        truth: the training sums at the points.
        errors: (m, points, parts) errors of the normalized training counts.
    """

    points: dict[str, Points]
    truth: BinSums
    errors: dict[str, jax.Array]


def draw_rows(
    stacks: Sequence[BinStack], arrays: Sequence[StackArrays], key: jax.Array
) -> list[dict[str, jax.Array]]:
    """Draw indices (m, k) of the points of each statistic, uniformly and with replacement.

    For statistics in ``BinStack.every``, the indices are those of all points in order.

    Args:
        stacks, arrays: the stacked bins.
        key: random key; all stacks share one draw, because each draw costs compile time.
    """
    sizes = [
        len(stack.bins) * count
        for stack in stacks
        for name, count in stack.drawn.items()
        if name not in stack.every
    ]
    bits = iter(jnp.split(jax.random.bits(key, (sum(sizes),)), np.cumsum(sizes)[:-1]))

    def rows(stack: BinStack, name: str, points: int) -> jax.Array:
        shape = (len(stack.bins), stack.drawn[name])
        if name in stack.every:
            return jnp.broadcast_to(jnp.arange(points, dtype=jnp.uint32), shape)
        # The remainder favors the first rows by a negligible fraction of rows / 2^32.
        return next(bits).reshape(shape) % points

    return [
        {name: rows(stack, name, data.truth[name].shape[1]) for name in stack.drawn}
        for stack, data in zip(stacks, arrays, strict=True)
    ]


def draw_points(
    stacks: Sequence[BinStack], arrays: Sequence[StackArrays], key: jax.Array, kernel_blocks: int
) -> list[DrawnPoints]:
    """Draw the points of each statistic in each bin, with the indices of ``draw_rows``.

    Args:
        stacks, arrays: the stacked bins.
        key: random key.
        kernel_blocks: number of blocks into which the points are cut.
    """
    return points_at(arrays, draw_rows(stacks, arrays, key), kernel_blocks)


def points_at(
    arrays: Sequence[StackArrays], rows: Sequence[Mapping[str, jax.Array]], kernel_blocks: int
) -> list[DrawnPoints]:
    """The points with given indices (m, k) for each statistic of each stack.

    Args:
        arrays: the stacked bins.
        rows: for each stack, names of statistics to indices.
        kernel_blocks: number of blocks into which the points are cut.
    """

    def drawn(points: Points, rows: jax.Array) -> Points:
        taken = {n: _split(_take(a, rows), kernel_blocks) for n, a in points.each.items()}
        return Points(taken, points.common)

    return [
        DrawnPoints(
            points={name: drawn(data.bins.points[name], found[name]) for name in found},
            truth=BinSums(data.training_sum, {n: _take(data.truth[n], found[n]) for n in found}),
            errors={name: _take(data.errors[name], found[name]) for name in found},
        )
        for data, found in zip(arrays, rows, strict=True)
    ]


def _take(table: jax.Array, rows: jax.Array) -> jax.Array:
    """Take the rows (m, k) of m tables (m, p, ...); the result is (m, k, ...)."""
    return jax.vmap(lambda table, rows: table[rows])(table, rows)


def _split(values: jax.Array, parts: int) -> jax.Array:
    """Cut (m, k, ...) into (parts, m, ceil(k / parts), ...), padded with the last point."""
    bins, count, *rest = values.shape
    padded = -(-count // parts) * parts
    if padded > count:
        values = jnp.concatenate([values, jnp.repeat(values[:, -1:], padded - count, 1)], 1)
    return values.reshape(bins, parts, padded // parts, *rest).swapaxes(0, 1)


def joined(values: jax.Array, count: int) -> jax.Array:
    """The inverse of ``_split``: (blocks, m, k / blocks, parts) to (m, count, parts)."""
    blocks, bins, number, parts = values.shape
    return values.swapaxes(0, 1).reshape(bins, blocks * number, parts)[:, :count]


def stack_sums(
    stacks: Sequence[BinStack],
    arrays: Sequence[StackArrays],
    draws: Sequence[DrawnPoints],
    kernel_block: jax.Array,
    population: Population,
    orders: Mapping[str, jax.Array],
    backend: str,
    squares: bool = False,
    expected: bool = False,
) -> list[dict[str, Any]]:
    """The sums over a population in the bins of each stack, at one block of points.

    Args:
        stacks, arrays: the stacked bins.
        draws: the points of the step, for each stack.
        kernel_block: index of the block of points.
        population: the samples.
        orders: known permutations (n,) that sort the samples by conditional columns, by the names
            of ``sparse_groups``; missing permutations are computed.
        backend: backend of dense sums.
        squares: whether to sum squares as well.
        expected: whether to sum squares of galaxies that are drawn from the samples as well.

    Returns:
        For each stack, ``sums``; with ``squares`` the ``BinSquares`` of the samples, ``squares``;
        and with ``expected`` those of ``bins.expected_errors``, ``expected``. Squares are
        constants in any derivative.
    """
    sums = []
    in_order = {
        name: _in_order(population, alike, orders.get(name))
        for name, alike in sparse_groups(stacks).items()
    }
    for stack, data, draw in zip(stacks, arrays, draws, strict=True):
        block = {
            name: Points({n: a[kernel_block] for n, a in points.each.items()}, points.common)
            for name, points in draw.points.items()
        }
        bins = replace(data.bins, points=block)
        samples, of_bins = population, partial(dense_sums, backend)
        if stack.sparse:
            samples, of_bins = in_order[_order_name(stack)], sparse_sums
        x = [samples.x[column] for column in stack.columns]
        conditions = [samples.x[column] for column in stack.conditions]
        kinds = stack.kinds if squares else None
        found, noise = of_bins(x, conditions, samples.weights, bins, stack.hard, kinds)
        sums.append({"sums": found} | ({"squares": noise} if noise is not None else {}))
        if expected:
            # Of the square root of a weight v, all squares and products are proportional to v.
            given = lax.stop_gradient((x, conditions, samples.weights))
            drawn = of_bins(*given[:2], jnp.sqrt(given[2]), bins, stack.hard, stack.kinds)[1]
            sums[-1]["expected"] = drawn
    return sums


def sums_of_stack(drawn: Mapping[str, int], sums: BinSums) -> BinSums:
    """Join the sums of the kernel blocks of a stack, (kernel blocks, m, ...).

    ``drawn`` are names of statistics to numbers of points per bin.
    """
    # The weight is the same in every kernel block.
    return BinSums(sums.weight[0], _joined_counts(drawn, sums.counts))


def squares_of_stack(drawn: Mapping[str, int], squares: BinSquares) -> BinSquares:
    """Join the sums of squares of the kernel blocks of a stack, as ``sums_of_stack``."""
    counts, cross = (_joined_counts(drawn, of) for of in (squares.counts, squares.cross))
    return BinSquares(squares.weight[0], squares.norm[0], counts, cross)


def _joined_counts(
    drawn: Mapping[str, int], counts: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    return {n: joined(counts[n], number) for n, number in drawn.items() if n in counts}


def sparse_groups(stacks: Sequence[BinStack]) -> dict[str, list[BinStack]]:
    """Stacks with sparse sums, grouped by their conditional columns, which sort the samples."""
    groups: dict[str, list[BinStack]] = {}
    for stack in stacks:
        if stack.sparse:
            groups.setdefault(_order_name(stack), []).append(stack)
    return groups


def _order_name(stack: BinStack) -> str:
    return ", ".join(stack.conditions)


def order_of(population: Population, stacks: Sequence[BinStack]) -> jax.Array:
    """The permutation (n,) that sorts samples by conditional columns, the same of all stacks."""
    names = stacks[0].conditions
    edges = [
        np.unique(np.concatenate(of_stacks))
        for of_stacks in zip(*(stack.edges for stack in stacks), strict=True)
    ]
    return order_by_cells([lax.stop_gradient(population.x[name]) for name in names], edges)


def _in_order(
    population: Population, stacks: Sequence[BinStack], order: jax.Array | None
) -> Population:
    order = order_of(population, stacks) if order is None else order
    names = list(dict.fromkeys(c for s in stacks for c in (*s.columns, *s.conditions)))
    *columns, weights = permuted([population.x[c] for c in names] + [population.weights], order)
    return Population(dict(zip(names, columns, strict=True)), weights)
