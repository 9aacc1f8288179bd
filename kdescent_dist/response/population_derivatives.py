"""Derivatives of a population's sums with respect to parameters.

Each device draws one block of the population at a time, and linearizes the sums of the block.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from kdescent_dist.bins.bin_sums import BinSquares
from kdescent_dist.bins.windows import in_window
from kdescent_dist.models.population import Population
from kdescent_dist.numerics.compensated import CompensatedSum
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.response.bin_samples import at_rows, reached
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.influence import BinSamples, SumDerivatives, sum_derivatives
from kdescent_dist.response.population_blocks import (
    PAIRS,
    ChosenBlocks,
    block_of,
    most_blocks,
    on_each_device,
    pairs_of,
)
from kdescent_dist.response.population_totals import mean_of_trees

AT_ONCE = 1 << 26  # most derivatives of sample values on a device; sets the parameters per pass
# Populations, with independent random numbers, over which to average.
FEWEST_ROUNDS, ROUNDS = 2, 16


@dataclass(frozen=True)
class PopulationDerivatives:
    """Sums over a population, and their derivatives by P parameters.

    Attributes:
        weight: the sum of all weights, and its derivatives (P,).
        bins: the sums of each bin, at the points of ``compared`` and then of ``of_custom``.
        extra_sums: the sums of ``loss.extra_sums``, and their derivatives (P, ...); empty
            without.
    """

    weight: tuple[np.ndarray, np.ndarray]
    bins: list[SumDerivatives]
    extra_sums: tuple[Any, Any]


def mean_derivatives(drawn: Sequence[PopulationDerivatives]) -> PopulationDerivatives:
    """The mean over several populations.

    Derivatives of counts of few samples are noisy. The covariance uses products of derivatives, in
    which noise does not average out; a mean over populations reduces the noise.
    """
    fields = [(one.weight, one.bins, one.extra_sums) for one in drawn]
    return PopulationDerivatives(*mean_of_trees(fields))


class PopulationSlopes:
    """The programs that draw blocks of a population and linearize its sums, on all devices.

    Some blocks represent a large population, see ``ChosenBlocks``. The sums of the blocks are added
    so that the results do not depend on the mesh.

    Args:
        loss: the loss.

    Attributes:
        most: most populations of which derivatives are to be the mean: fewer than ``ROUNDS`` for a
            large population.
    """

    def __init__(self, loss: FixedLoss) -> None:
        self.objective = loss.objective
        self.sets = loss.sets
        self.names = None if self.objective.extra_sums is not None else loss.columns
        self.width = len(loss.columns) + 1  # values of a sample
        parameters = len(self.objective.names)
        self.blocks = ChosenBlocks(
            self.objective, most_blocks(self.objective, self.sets, parameters)
        )
        pairs = pairs_of(PAIRS, parameters) // max(sum(s.number for s in self.sets), 1)
        self.most = int(np.clip(pairs // self.blocks.used, 1, ROUNDS))
        whole, split = PartitionSpec(), PartitionSpec("samples")
        mesh, block = self.objective.mesh, (split, split, split)
        programs = self.objective.programs
        specs = (whole, whole, split, split, whole), (split, split, whole)
        self._linearize = programs.of(
            "linearize", lambda: on_each_device(mesh, self._linearize_local, *specs)
        )

        def derivatives(hard: tuple[bool, ...]) -> Callable:
            specs = (block, block, whole, whole, whole)
            local = _derivatives_of(hard)
            return programs.of(
                ("derivatives", hard), lambda: on_each_device(mesh, local, specs, whole)
            )

        self._derivatives = derivatives

    def sums(
        self, params: np.ndarray, key: np.ndarray, progress: Callable[[], None]
    ) -> PopulationDerivatives:
        """Sums over the population of a key, and their derivatives.

        Args:
            params: (P,) parameters.
            key: data of the key, see ``population_keys``.
            progress: called after each bin of each turn; a turn is one block on every device.
        """
        values = self.objective.layout.block_size * self.width
        size = int(np.clip(AT_ONCE // values, 1, len(params)))
        groups = _directions(params, size)
        parts = [self._slopes(params, key, group, progress) for group in groups]
        used = slice(len(params))

        def joined(*slopes: Any) -> Any:
            return jax.tree.map(lambda *of_parts: np.concatenate(of_parts)[used], *slopes)

        first = parts[0]
        bins = [
            replace(of_bin, slopes=joined(*(part.bins[i].slopes for part in parts)))
            for i, of_bin in enumerate(first.bins)
        ]
        own, _ = first.extra_sums
        return PopulationDerivatives(
            (first.weight[0], joined(*(part.weight[1] for part in parts))),
            bins,
            (own, joined(*(part.extra_sums[1] for part in parts))),
        )

    def _slopes(
        self,
        params: np.ndarray,
        key: np.ndarray,
        directions: np.ndarray,
        progress: Callable[[], None],
    ) -> PopulationDerivatives:
        """As ``sums``, with derivatives along ``directions`` (directions, P)."""
        of_all, bins = CompensatedSum(), [CompensatedSum() for _ in self.sets]
        catalog = self.objective.data["catalog"]
        for turn in self.blocks.turns:
            population, tangents, sums = self._linearize(params, key, turn, catalog, directions)
            of_all.add_each(jax.device_get(sums))
            for total, counted in zip(bins, self.sets, strict=True):
                program = self._derivatives(counted.pretrained.bin.hard)
                chosen = block_of(population, counted), block_of(tangents, counted)
                bin_ = counted.window, counted.points, counted.norm_factors
                sums = program(*chosen, *bin_)
                total.add_each(jax.device_get(sums))
                progress()
        totals = (of_all.total(), [one.total() for one in bins])
        (weight, extra_sums), found = jax.tree.map(lambda a: self.blocks.scale * a, totals)
        return PopulationDerivatives(weight, found, extra_sums)

    def _linearize_local(self, params, key, turn, catalog, directions):
        """The population of a block, its derivatives along ``directions``, and its sums.

        The sums are the sum of weights and ``loss.extra_sums``, each with its derivatives.
        """
        own = self.objective.extra_sums

        def of(params: jax.Array) -> Any:
            columns, weights = self.blocks.draw(self.names, params, key, turn, catalog)
            added_up = own(Population(columns, weights)) if own is not None else ()
            added_up = jax.tree.map(
                lambda a: jnp.where(turn[0, 1] > 0, jnp.asarray(a, weights.dtype), 0), added_up
            )
            return (columns, weights), added_up

        def along(direction: jax.Array) -> Any:
            return jax.jvp(of, (params,), (direction,))[1]

        (drawn, added_up), (tangents, slopes) = of(params), lax.map(along, directions)
        weights = (tree_sum(drawn[1]), jax.vmap(tree_sum)(tangents[1]))
        sums = lax.all_gather((weights, (added_up, slopes)), "samples")
        return *jax.tree.map(lambda a: a[None], (drawn, tangents)), sums


def _directions(params: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Groups (size, P) of unit vectors of parameters; the last group is padded with zeros."""
    number = len(params)
    units = np.eye(-(-number // size) * size, number, dtype=params.dtype)
    yield from units.reshape(-1, size, number)


def _derivatives_of(hard: tuple[bool, ...]) -> Callable:
    def local(population, tangents, window, points, factors):
        (x, conditions, weights), (dx, dconditions, dweights) = jax.tree.map(
            lambda a: a[0], (population, tangents)
        )

        def samples(rows: jax.Array) -> BinSamples:
            columns, near, own = at_rows((list(x), list(conditions), weights), rows)
            moved, dnear, down = at_rows((list(dx), list(dconditions), dweights), rows)

            def weigh(conditions: Any, weights: Any) -> jax.Array:
                return in_window(conditions, weights, window, hard)

            def slope(dconditions: Any, dweights: Any) -> jax.Array:
                return jax.jvp(weigh, (near, own), (dconditions, dweights))[1]

            inside = weigh(near, own)
            of_norm = factors[0] * inside + factors[1] * own
            drawn = jnp.sqrt(jnp.abs(own))
            within = weigh(near, drawn)
            galaxies = within, factors[0] * within + factors[1] * drawn
            slopes = jax.vmap(slope)(dnear, down)
            return BinSamples(columns, inside, moved, slopes, of_norm, galaxies)

        chosen = reached(conditions, weights, window, hard)
        sums = sum_derivatives(jnp.stack(x, axis=1), chosen, samples, points)
        left = jnp.where(chosen, 0, factors[1] ** 2 * weights)
        of_norm = jnp.sum(left * weights), jnp.sum(jnp.abs(left))
        squares, galaxies = map(_with_norm, (sums.squares, sums.expected), of_norm)
        sums = replace(sums, squares=squares, expected=galaxies)
        return lax.all_gather(sums, "samples")

    return local


def _with_norm(squares: BinSquares, of_others: jax.Array) -> BinSquares:
    """The squares with those of samples that count in the norm, but not in the bin."""
    return replace(squares, norm=squares.norm + of_others)
