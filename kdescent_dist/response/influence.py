"""Derivatives of the sums of a bin with respect to parameters, and influences of samples.

The influence of a sample on an estimate is the first-order change of the estimate when the sample
is added (Hampel 1974). All functions are traceable. They process samples in chunks, so no array has
samples x points elements. Derivatives are in forward mode, through the samples of the model. The
values of a statistic are computed once for all parameters; the rest are matrix products.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin_sums import BinSquares, BinSums
from kdescent_dist.bins.windows import in_window
from kdescent_dist.counts.contraction import Columns
from kdescent_dist.counts.origin import near_origin
from kdescent_dist.counts.statistic import Points, Statistic
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.response.bin_samples import at_rows, over_chunks, reached

CHUNK = 4096  # samples


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SumDerivatives:
    """The sums of a bin, their derivatives, and their sums of squares.

    Attributes:
        sums: the sums, with counts (k, parts).
        slopes: derivatives with respect to P parameters: weight (P,) and counts (P, k, parts).
        squares: the sums of squares and products of the contributions of the samples.
        expected: the same for galaxies that are drawn from the samples, see
            ``bins.expected_errors``.
    """

    sums: BinSums
    slopes: BinSums
    squares: BinSquares
    expected: BinSquares


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sensitivity:
    """Derivatives of P numbers with respect to the sums of a bin.

    Attributes:
        sums: with respect to the weight in the bin, (P,), and to the counts, (P, k, parts).
        weight: with respect to the sum of all weights, (P,).
    """

    sums: BinSums
    weight: Any

    def of(self, matrix: np.ndarray) -> "Sensitivity":
        """The derivatives of the Q numbers that are a matrix (Q, P) times the P numbers."""
        return jax.tree.map(lambda a: np.tensordot(matrix, a, axes=1), self)


Dependent = list[tuple[int, Sensitivity]]


def dependent(sensitivities: Sequence[Sensitivity]) -> Dependent:
    """For each bin, the numbers that depend on its sums, if they are some of Q consecutive numbers.

    Args:
        sensitivities: derivatives of the same Q numbers with respect to the sums of each bin.

    Returns:
        For each bin, the index of the first number, and the derivatives of equally many numbers.
    """
    spans, size = [], sensitivities[0].weight.size
    for one in sensitivities:
        leaves = [np.reshape(leaf, (size, -1)) for leaf in jax.tree.leaves(one)]
        some = np.flatnonzero(np.any([np.any(leaf, axis=1) for leaf in leaves], axis=0))
        spans.append((int(some[0]), int(some[-1]) + 1) if len(some) else (0, 0))
    width = max(1, *(end - first for first, end in spans))
    firsts = [min(first, size - width) for first, _ in spans]
    return [
        (first, jax.tree.map(lambda a, i=first: a[i : i + width], one))
        for first, one in zip(firsts, sensitivities, strict=True)
    ]


@dataclass(frozen=True)
class BinSamples:
    """Samples in a bin, and their derivatives with respect to P parameters.

    Attributes:
        x: d columns (n,) of the samples.
        weights: (n,) weights, window included.
        dx, dweights: derivatives of ``x``, d columns (P, n), and of ``weights``, (P, n).
        of_norm: (n,) contributions of the samples to the norm of the counts.
        galaxies: the same as ``weights`` and ``of_norm``, of samples with the square roots of
            their weights.
    """

    x: Sequence[jax.Array]
    weights: jax.Array
    dx: Sequence[jax.Array]
    dweights: jax.Array
    of_norm: jax.Array
    galaxies: tuple[jax.Array, jax.Array]


def sum_derivatives(
    x: jax.Array,
    chosen: jax.Array,
    samples: Callable[[jax.Array], BinSamples],
    points: Mapping[str, Points],
) -> SumDerivatives:
    """The sums over samples in a bin, and their derivatives with respect to P parameters.

    Args:
        x: (n, d) samples of a block.
        chosen: (n,) whether a sample is in the bin.
        samples: returns samples of the block at indices, see ``over_chunks``.
        points: the points of each statistic.
    """
    statistics, prepared = prepared_at(x, points)

    def of_chunk(rows: jax.Array) -> dict[str, Any]:
        one_chunk = samples(rows)
        columns, w, dw = list(one_chunk.x), one_chunk.weights, one_chunk.dweights
        # Column by column: products of slices of one table (P, n, d) have come out wrong on CPUs.
        wdx = [w * column for column in one_chunk.dx]
        raw = {}
        pairs = [(w, one_chunk.of_norm), one_chunk.galaxies]
        for name, one in statistics.items():
            tables, moved = _tables(one, columns, prepared[name])
            slopes = [matmul(dw, table.T) for table in tables]
            for along, by_column in zip(wdx, moved, strict=True):
                more = [matmul(along, table.T) for table in by_column]
                slopes = [a + b for a, b in zip(slopes, more, strict=True)]
            raw[name] = (
                jnp.stack([matmul(table, w) for table in tables]),
                jnp.stack(slopes, axis=1),
                [
                    (
                        jnp.stack(one.square_sums(columns, a * a, prepared[name])),
                        jnp.stack([matmul(table, a * b) for table in tables]),
                    )
                    for a, b in pairs
                ],
            )
        squares = [(jnp.sum(a * a), jnp.sum(b * b)) for a, b in pairs]
        return {"weight": (jnp.sum(w), jnp.sum(dw, axis=1), squares), "raw": raw}

    shapes = jax.eval_shape(of_chunk, jnp.zeros(1, jnp.int32))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total: Any, rows: jax.Array) -> Any:
        return jax.tree.map(jnp.add, total, of_chunk(rows))

    found = over_chunks(add, chosen, zero)
    weight, slope, of_samples = found["weight"]
    counts, slopes = {}, {}
    for name, one in statistics.items():
        raw, moved, _ = found["raw"][name]
        counts[name] = one.finish(raw, prepared[name])
        slopes[name] = jax.vmap(one.finish, (0, None))(moved, prepared[name])
    squares = []
    for i, (square, norm) in enumerate(of_samples):
        both = {name: found["raw"][name][2][i] for name in statistics}
        doubled = {
            name: one.finish_squares(both[name][0], square, prepared[name])
            for name, one in statistics.items()
        }
        cross = {n: one.finish(both[n][1], prepared[n]) for n, one in statistics.items()}
        squares.append(BinSquares(square, norm, doubled, cross))
    sums, of_sums = BinSums(weight, counts), BinSums(slope, slopes)
    return SumDerivatives(sums, of_sums, *squares)


def influences(
    x: Sequence[jax.Array],
    conditions: Sequence[jax.Array],
    weights: jax.Array,
    bin_window: tuple[Any, Sequence[bool]],
    points: Mapping[str, Points],
    sensitivity: Sensitivity,
) -> jax.Array:
    """Influence (n, P) of each sample on P numbers that are linear in the sums of a bin.

    Args:
        x: d columns (n,) of the samples.
        conditions: c conditional columns, each (n,).
        weights: (n,) weights without the window.
        bin_window: the window, and whether its edges are hard, see ``in_window``.
        points: the points of each statistic.
        sensitivity: derivatives of the P numbers with respect to the sums.
    """
    statistics, prepared = prepared_at(jnp.stack(x, axis=1), points)
    sensitivity = jax.tree.map(lambda a: jnp.asarray(a, weights.dtype), sensitivity)
    raw = {
        name: jax.vmap(one.pull_back, (0, None))(sensitivity.sums.counts[name], prepared[name])
        for name, one in statistics.items()
    }

    def add(total: jax.Array, rows: jax.Array) -> jax.Array:
        columns, near, w = at_rows((list(x), list(conditions), weights), rows)
        linear = sensitivity.sums.weight
        for name, one in statistics.items():
            tables = one.values(columns, prepared[name])
            for i, table in enumerate(tables):
                linear = linear + matmul(table.T, raw[name][:, i].T)
        inside = in_window(near, w, *bin_window)
        return total.at[rows].add(inside[:, None] * linear, mode="drop")

    everywhere = weights[:, None] * sensitivity.weight
    return over_chunks(add, reached(conditions, weights, *bin_window), everywhere)


def prepared_at(
    x: jax.Array, points: Mapping[str, Points]
) -> tuple[dict[str, Statistic], dict[str, Any]]:
    """Statistics by name, and the results of their ``prepare`` in the type of ``x``."""
    statistics, origin = ordered(points), near_origin(x)

    def cast(values: Any) -> jax.Array:
        values = jnp.asarray(values)
        return values.astype(x.dtype) if jnp.issubdtype(values.dtype, jnp.floating) else values

    own = jax.tree.map(cast, dict(points))
    return statistics, {name: one.prepare(own[name], origin) for name, one in statistics.items()}


def _tables(
    one: Statistic, columns: Columns, prepared: Any
) -> tuple[Sequence[jax.Array], list[Sequence[jax.Array]]]:
    """Tables (k, n) of each part, and their derivatives along each of d coordinates."""

    def values(columns: Columns) -> Sequence[jax.Array]:
        return one.values(columns, prepared)

    moved = []
    for i in range(len(columns)):
        along = [jnp.full_like(c, float(i == j)) for j, c in enumerate(columns)]
        moved.append(jax.jvp(values, (columns,), (along,))[1])
    return values(columns), moved


def in_chunks(values: jax.Array) -> jax.Array:
    """Rows (n, ...) as (chunks, size, ...), padded with zeros, which have no weight."""
    n = len(values)
    size = min(CHUNK, n)
    filled = jnp.pad(values, [(0, -n % size)] + [(0, 0)] * (values.ndim - 1))
    return filled.reshape(-1, size, *values.shape[1:])
