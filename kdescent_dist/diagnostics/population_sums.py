"""Sums over a population, for a report, block by block; and some samples of the population.

A population is never in memory as a whole. Each device draws one block at a time. The host adds up
the sums of the blocks in double precision, and keeps some samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from kdescent_dist.bins.bin_sums import BinSquares, BinSums
from kdescent_dist.bins.windows import in_window
from kdescent_dist.counts.statistic import Points
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.distributed.sample_blocks import SampleBlocks
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response.points import EvaluationPoints
from kdescent_dist.response.population_blocks import block_of, draw_block, on_each_device
from kdescent_dist.response.population_keys import population_keys


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SumsAndSquares:
    """Sums over samples in a bin, and their sums of squares, None if they are not requested."""

    sums: BinSums
    squares: BinSquares | None


@dataclass(frozen=True)
class PopulationSums:
    """The sum of a population's weights, the sums of each bin, and the kept samples."""

    weight: float
    bins: list[SumsAndSquares]
    kept: dict[str, np.ndarray]
    kept_weights: np.ndarray


class PopulationBlocks:
    """The blocks of a population, and programs that draw and count one block per device at a time.

    Programs compile once, because everything that differs between bins of equal shape, or between
    guess and fit, is an argument. Every process gets the sums of all devices.
    """

    def __init__(
        self, objective: PopulationObjective, names: Sequence[str], seed: int, samples: int
    ) -> None:
        self.objective, self.layout, self.mesh = objective, objective.layout, objective.mesh
        self.catalog = objective.data["catalog"]
        self.names, self.seed, self.samples = names, seed, samples
        (self._key,) = population_keys(seed, 1)
        whole, split = PartitionSpec(), PartitionSpec("samples")
        drawn = ((whole, whole, whole, split, split), (split, whole, whole))
        self._draw = on_each_device(self.mesh, self._draw_local, *drawn)
        specs = ((split, split, split), whole, whole, whole)

        @cache
        def program(of_samples: Callable, hard: tuple[bool, ...]) -> Callable:
            return on_each_device(self.mesh, local_sums(of_samples, hard), specs, whole)

        self._program = program

    def sums(
        self,
        params: Any,
        sets: Sequence[EvaluationPoints],
        *,
        errors: bool,
        progress: Callable[[], None] = lambda: None,
    ) -> PopulationSums:
        """Draw the population at ``params`` block by block, and sum over it.

        Args:
            params: (parameters,) parameters.
            sets: the bins, and the points of each.
            errors: whether to sum the squared contributions of the samples as well.
            progress: called after each bin of each turn; a turn is one block on every device.
        """
        params = np.asarray(params)
        devices, turns = self.mesh.shape["samples"], self.layout.per_device(self.mesh)
        rows = _KeptRows(self.layout, self._copies(params), self.seed, self.samples)
        weight = 0.0
        bins: list[Any] = [None for _ in sets]
        kept: dict[int, tuple[dict[str, np.ndarray], np.ndarray]] = {}
        for turn in range(turns):
            blocks = [device * turns + turn for device in range(devices)]
            indices, numbers = rows.of_blocks(blocks)
            population, some, weights = self._draw(
                params, self._key, np.int32(turn), indices, self.catalog
            )
            some, weights = jax.device_get((some, weights))
            weight += float(np.sum(weights, dtype=float))
            for i, (block, number) in enumerate(zip(blocks, numbers, strict=True)):
                kept[block] = jax.tree.map(lambda a, i=i, n=number: a[i, :n].copy(), some)
            for i, counted in enumerate(sets):
                found = self._sums(population, counted, errors)
                bins[i] = found if bins[i] is None else jax.tree.map(np.add, bins[i], found)
                progress()
        columns, weights = zip(*(kept[block] for block in range(self.layout.count)), strict=True)
        joined = {name: np.concatenate([c[name] for c in columns]) for name in self.names}
        return PopulationSums(weight, bins, joined, np.concatenate(weights) * rows.scale)

    def _sums(self, population: Any, counted: EvaluationPoints, errors: bool) -> SumsAndSquares:
        """The sums over one block of every device, in double precision."""
        chosen = block_of(population, counted)

        def added(of_samples: Callable) -> Any:
            program = self._program(of_samples, counted.pretrained.bin.hard)
            bin_ = counted.window, counted.points, counted.norm_factors
            sums = jax.device_get(program(chosen, *bin_))
            return jax.tree.map(lambda a: np.sum(a, axis=0, dtype=float), sums)

        return SumsAndSquares(added(counts_of), added(_squares) if errors else None)

    def _copies(self, params: np.ndarray) -> int:
        """Number of concatenated copies of a block that the model returns."""
        block = {n: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for n, a in self.catalog.items()}
        key = jax.eval_shape(jax.random.key, 0)
        population = jax.eval_shape(self.objective.model.population, params, key, 0, block)
        return population.size // self.layout.block_size

    def _draw_local(self, params, key_data, turn, rows, catalog):
        """Columns and weights of a block, some of its rows, and the sum of its weights."""
        drawn = draw_block(self.objective, self.names, params, key_data, turn, catalog)
        some = jax.tree.map(lambda a: a[rows[0]], drawn)
        alone = jax.tree.map(lambda a: a[None], drawn)
        return alone, *lax.all_gather((some, tree_sum(drawn[1])), "samples")


class _KeptRows:
    """The rows to keep of each block: together a random subsample, without padding, of all samples.

    A block keeps its share, randomly rounded up or down, so that every sample is kept with the same
    probability. The weights of kept samples are multiplied by ``scale``, one over the probability.
    """

    def __init__(self, layout: SampleBlocks, copies: int, seed: int, samples: int) -> None:
        self.layout, self.copies, self.seed = layout, copies, seed
        self.size = layout.size * copies
        self.number = min(samples, self.size)
        self.scale = self.size / self.number
        self.most = -(-layout.block_size * copies * self.number // self.size)
        self.offset = int(np.random.default_rng((seed, layout.count)).integers(self.size))

    def of_blocks(self, blocks: Sequence[int]) -> tuple[np.ndarray, list[int]]:
        """Rows (blocks, most) of blocks, padded, and the number of rows of each block."""
        rows = [self._of_block(block) for block in blocks]
        padded = [np.pad(r, (0, self.most - len(r))) for r in rows]
        return np.array(padded, np.int32), [len(r) for r in rows]

    def _of_block(self, block: int) -> np.ndarray:
        size, block_size = self.layout.size, self.layout.block_size
        first, last = (min(b * block_size, size) for b in (block, block + 1))
        before, after = (
            (self.number * self.copies * rows + self.offset) // self.size for rows in (first, last)
        )
        real = last - first
        rng = np.random.default_rng((self.seed, block))
        chosen = np.sort(rng.choice(real * self.copies, after - before, replace=False))
        copy, row = np.divmod(chosen, max(real, 1))
        return copy * block_size + row


def count_rows(
    x: np.ndarray, inside: np.ndarray, weights: np.ndarray, counted: EvaluationPoints
) -> SumsAndSquares:
    """Sums over samples of a bin, in this process alone.

    Args:
        x: (n, d) samples.
        inside: (n,) weights, window included.
        weights: (n,) weights without the window.
        counted: the bin, and the points at which to count.
    """
    return jax.device_get(_count_rows(x, inside, weights, counted.points, counted.norm_factors))


@jax.jit
def _count_rows(*samples):
    return SumsAndSquares(counts_of(*samples), _squares(*samples))


def local_sums(of_samples: Callable, hard: tuple[bool, ...]) -> Callable:
    """The sums over the block of each device, from its columns, and the data of a bin."""

    def local(population, window, points, factors):
        columns, conditions, weights = jax.tree.map(lambda a: a[0], population)
        inside = in_window(conditions, weights, window, hard)
        x = jnp.stack(columns, axis=1)
        return lax.all_gather(of_samples(x, inside, weights, points, factors), "samples")

    return local


def counts_of(
    x: jax.Array,
    inside: jax.Array,
    weights: jax.Array,
    points: dict[str, Points],
    factors: jax.Array,
) -> BinSums:
    """The sums over samples (n, d) with weights (n,) in a bin."""
    del weights, factors
    counts = {n: one.counts(x, inside, points[n], "auto") for n, one in ordered(points).items()}
    return BinSums(tree_sum(inside), counts)


def _squares(
    x: jax.Array,
    inside: jax.Array,
    weights: jax.Array,
    points: dict[str, Points],
    factors: jax.Array,
) -> BinSquares:
    """Sums of squares and products, which add up over blocks."""
    of_norm = factors[0] * inside + factors[1] * weights
    total, counts, cross = tree_sum(inside * inside), {}, {}
    for name, one in ordered(points).items():
        counts[name] = one.squares(x, inside, points[name], "auto", total)
        cross[name] = one.counts(x, inside * of_norm, points[name], "auto")
    return BinSquares(total, tree_sum(of_norm * of_norm), counts, cross)
