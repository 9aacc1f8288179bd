"""Derivatives of a population's sums with respect to parameters, and influences of its samples.

Each device draws one block of the population at a time, as in ``population_sums``.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec

from kdescent_dist.bins.windows import in_window
from kdescent_dist.diagnostics.influence import (
    CHUNK,
    Sensitivity,
    SumDerivatives,
    influences,
    sum_derivatives,
)
from kdescent_dist.diagnostics.points import EvaluationPoints
from kdescent_dist.diagnostics.population_sums import draw_block, on_each_device
from kdescent_dist.distributed.mesh import dealt
from kdescent_dist.models.population import Population
from kdescent_dist.numerics.reductions import tree_sum
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.objective.population_objective import PopulationObjective

PAIRS = 1 << 30  # most samples x points of all bins, for derivatives
AT_ONCE = 1 << 26  # most derivatives of sample values on a device; sets the parameters per pass
ROUNDS = 8  # most populations, with independent random numbers, over which to average


@dataclass(frozen=True)
class PopulationDerivatives:
    """Sums over a population, and their derivatives by P parameters.

    Attributes:
        weight: the sum of all weights, and its derivatives (P,).
        bins: the sums of each bin.
        extra_sums: the sums of ``loss.extra_sums``, and their derivatives (P, ...); empty
            without.
    """

    weight: tuple[np.ndarray, np.ndarray]
    bins: list[SumDerivatives]
    extra_sums: tuple[Any, Any]


class PopulationInfluences:
    """The programs that draw blocks of a population and linearize its sums, on all devices.

    Some blocks represent a large population. They are evenly spread over the blocks of each device,
    so the choice of blocks, and slightly the results, depend on the number of devices.

    Args:
        objective: the objective of the fit.
        names: columns that the bins need.
        sets: the bins, and the points of each.
        params: (P,) parameters.
        seed: seed of the populations, any non-negative integer.
        progress: called after each bin of each turn; a turn is one block on every device.
    """

    def __init__(
        self,
        objective: PopulationObjective,
        names: Sequence[str],
        sets: Sequence[EvaluationPoints],
        params: np.ndarray,
        seed: int,
        progress: Callable[[], None],
    ) -> None:
        self.objective, self.layout, self.mesh = objective, objective.layout, objective.mesh
        self.catalog = objective.data["catalog"]
        self.sets, self.params, self.progress = sets, params, progress
        self.width = len(names) + 1  # values of a sample
        self.names = None if objective.extra_sums is not None else names
        self._seeds = np.random.SeedSequence(seed).generate_state(ROUNDS)
        turns, devices = self.layout.per_device(self.mesh), self.mesh.shape["samples"]
        points = sum(s.number for s in sets)
        pairs = pairs_of(PAIRS, len(params))
        most = max(pairs // (max(points, 1) * devices * self.layout.block_size), 1)
        spread = np.linspace(0, turns - 1, min(turns, most))
        self.turns = np.unique(np.rint(spread).astype(int)).tolist()
        used = sum(int(np.sum(self._real(turn))) for turn in self.turns)
        self.scale = self.layout.size / used
        self.rounds = int(np.clip(pairs // (max(points, 1) * used), 1, ROUNDS))
        whole, split = PartitionSpec(), PartitionSpec("samples")

        compiled = partial(on_each_device, self.mesh)
        block = (split, split, split)
        drawn = (whole, whole, whole, split)
        self._draw = compiled(self._draw_local, drawn, split)
        self._linearize = compiled(self._linearize_local, (*drawn, whole), (split, split, whole))
        self._products = compiled(_products, block, whole)
        self._of_extra_sums = compiled(self._extra_sums_local, (split, split, whole), split)

        @cache
        def derivatives(hard: tuple[bool, ...]) -> Callable:
            return compiled(_derivatives_of(hard), (block, block, whole, whole), whole)

        @cache
        def added(hard: tuple[bool, ...]) -> Callable:
            local = _influences_of(hard, self.layout.block_size)
            return compiled(local, (split, block, whole, whole, whole), split)

        self._derivatives, self._added = derivatives, added

    def sums(self) -> PopulationDerivatives:
        """Sums over the population and their derivatives, as means over several populations.

        Derivatives of counts of few samples are noisy. The covariance uses products of derivatives,
        in which noise does not average out; a mean over populations reduces the noise.
        """
        values = self.layout.block_size * self.width
        size = int(np.clip(AT_ONCE // values, 1, len(self.params)))
        parts = [self._slopes(d) for d in self._directions(size)]
        used = slice(len(self.params))

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

    def _directions(self, size: int) -> Iterator[np.ndarray]:
        """Groups (size, P) of unit vectors of parameters; the last group is padded with zeros."""
        number = len(self.params)
        units = np.eye(-(-number // size) * size, number, dtype=self.params.dtype)
        yield from units.reshape(-1, size, number)

    def _slopes(self, directions: np.ndarray) -> PopulationDerivatives:
        """As ``sums``, with derivatives along ``directions`` (directions, P)."""

        def added(total: Any, more: Any) -> Any:
            more = jax.tree.map(lambda a: np.sum(a, axis=0, dtype=float), jax.device_get(more))
            return more if total is None else jax.tree.map(np.add, total, more)

        of_all: Any = None
        bins: list[Any] = [None] * len(self.sets)
        for seed, turn in itertools.product(self._seeds[: self.rounds], self.turns):
            population, tangents, sums = self._linearize(
                self.params, seed, np.int32(turn), self.catalog, directions
            )
            of_all = added(of_all, sums)
            for i, counted in enumerate(self.sets):
                program = self._derivatives(counted.pretrained.bin.hard)
                chosen = _of_bin(population, counted), _of_bin(tangents, counted)
                bins[i] = added(bins[i], program(*chosen, counted.window, counted.points))
                self.progress()
        scale = self.scale / self.rounds
        (weight, extra_sums), bins = jax.tree.map(lambda a: scale * a, (of_all, bins))
        return PopulationDerivatives(weight, bins, extra_sums)

    def products(
        self,
        sensitivities: Sequence[Sensitivity],
        *,
        fixed_key: bool,
        training: Callable[[np.ndarray], Any] | None = None,
        training_sensitivities: Sequence[Sensitivity] = (),
        extra_sums: np.ndarray | None = None,
    ) -> np.ndarray:
        """Sum of outer products (P, P) of the influences of the rows that make the population.

        The influences of the copies of a row add up. Random numbers that differ between steps
        average out: the products are then of two populations with independent random numbers, and
        their expectation includes only the influences of the rows of the input catalog.

        Args:
            sensitivities: for each bin, as in ``influences``.
            fixed_key: whether random numbers are the same in every step.
            training: function from row numbers (n,) of the input catalog to columns and weights of
                the same rows in the training catalog, None if the catalogs share no rows. With
                it, the result is the change of the sum over rows of the training catalog.
            training_sensitivities: for each bin, sensitivities to the training catalog.
            extra_sums: (P, S) derivatives with respect to the S sums of ``loss.extra_sums``, None
                without.
        """
        size = len(self.params)
        total, first_sum = np.zeros((size, size)), np.zeros(size)
        for turn in self.turns:
            first = self._turn(turn, self._seeds[0], sensitivities, extra_sums)
            second = (
                first if fixed_key else self._turn(turn, self._seeds[1], sensitivities, extra_sums)
            )
            rows = self._zeros()
            if training is not None:
                rows = self._of_rows(turn, training, training_sensitivities)
            products, sums = jax.device_get(self._products(first, second, rows))
            total += np.sum(products, axis=0, dtype=float)
            first_sum += np.sum(sums, axis=0, dtype=float)
        if not self.catalog:
            # The number of generated samples is fixed: influences vary about their mean.
            total -= np.outer(first_sum, first_sum) * self.scale / self.layout.size
        return self.scale * 0.5 * (total + total.T)

    def _turn(
        self,
        turn: int,
        seed: Any,
        sensitivities: Sequence[Sensitivity],
        extra_sums: np.ndarray | None,
    ) -> jax.Array:
        population = self._draw(self.params, seed, np.int32(turn), self.catalog)
        total = self._add_up(population, sensitivities)
        if extra_sums is not None and extra_sums.size:
            total = self._of_extra_sums(total, population, extra_sums)
        return total

    def _of_rows(
        self, turn: int, training: Callable, sensitivities: Sequence[Sensitivity]
    ) -> jax.Array:
        """Influences of the same rows in the training catalog."""
        size = self.layout.block_size
        real = self._real(turn)
        starts = size * (np.arange(len(real)) * self.layout.per_device(self.mesh) + turn)
        rows = np.minimum(starts[:, None] + np.arange(size), self.layout.size - 1)
        chosen, places = np.unique(rows, return_inverse=True)
        columns, weights = training(chosen)
        weights = np.where(np.arange(size) < real[:, None], weights[places.reshape(rows.shape)], 0)
        of_rows = {n: dealt(v[places.reshape(rows.shape)], self.mesh) for n, v in columns.items()}
        of_weights = dealt(weights.astype(self.params.dtype), self.mesh)
        return self._add_up((of_rows, of_weights), sensitivities)

    def _add_up(self, population: Any, sensitivities: Sequence[Sensitivity]) -> jax.Array:
        total = self._zeros()
        for counted, of_bin in zip(self.sets, sensitivities, strict=True):
            program = self._added(counted.pretrained.bin.hard)
            chosen = _of_bin(population, counted)
            total = program(total, chosen, counted.window, counted.points, of_bin)
            self.progress()
        return total

    def _zeros(self) -> jax.Array:
        devices, size = self.mesh.shape["samples"], self.layout.block_size
        return dealt(np.zeros((devices, size, len(self.params)), self.params.dtype), self.mesh)

    def _real(self, turn: int) -> np.ndarray:
        """Numbers (devices,) of samples in the blocks of a turn, without padding."""
        devices = np.arange(self.mesh.shape["samples"])
        first = (devices * self.layout.per_device(self.mesh) + turn) * self.layout.block_size
        return np.clip(self.layout.size - first, 0, self.layout.block_size)

    def _draw_local(self, params, seed, turn, catalog):
        drawn = draw_block(self.objective, self.names, params, seed, turn, catalog)
        return jax.tree.map(lambda a: a[None], drawn)

    def _extra_sums_local(self, total, population, derivatives):
        """Add the influences of the samples of a block through ``loss.extra_sums``."""
        own = self.objective.extra_sums
        assert own is not None
        drawn = jax.tree.map(lambda a: a[0], population)

        def of_sample(sample: Any) -> jax.Array:
            columns, weight = jax.tree.map(lambda a: a[None], sample)
            return derivatives @ ravel_pytree(own(Population(columns, weight)))[0]

        more = lax.map(of_sample, drawn, batch_size=CHUNK)
        return total + _over_copies(more, self.layout.block_size)

    def _linearize_local(self, params, seed, turn, catalog, directions):
        """The population of a block, its derivatives along ``directions``, and its sums.

        The sums are the sum of weights and ``loss.extra_sums``, each with its derivatives.
        """
        own = self.objective.extra_sums

        def of(params: jax.Array) -> Any:
            columns, weights = draw_block(self.objective, self.names, params, seed, turn, catalog)
            added_up = own(Population(columns, weights)) if own is not None else ()
            added_up = jax.tree.map(lambda a: jnp.asarray(a, weights.dtype), added_up)
            return (columns, weights), added_up

        def along(direction: jax.Array) -> Any:
            return jax.jvp(of, (params,), (direction,))[1]

        (drawn, added_up), (tangents, slopes) = of(params), lax.map(along, directions)
        weights = (tree_sum(drawn[1]), jax.vmap(tree_sum)(tangents[1]))
        sums = lax.all_gather((weights, (added_up, slopes)), "samples")
        return *jax.tree.map(lambda a: a[None], (drawn, tangents)), sums


def pairs_of(most: int, parameters: int) -> int:
    """Most pairs of samples and points: fewer than ``most`` for more than 32 parameters."""
    return most * 32 // max(parameters, 32)


def _of_bin(population: Any, counted: EvaluationPoints) -> tuple:
    """The compared columns of a bin, its conditional columns, and the weights."""
    columns, weights = population
    return *counted.columns_of(columns), weights


def _derivatives_of(hard: tuple[bool, ...]) -> Callable:
    def local(population, tangents, window, points):
        (x, conditions, weights), (dx, dconditions, dweights) = jax.tree.map(
            lambda a: a[0], (population, tangents)
        )

        def weigh(conditions: Any, weights: Any) -> jax.Array:
            return in_window(conditions, weights, window, hard)

        def slope(dconditions: Any, dweights: Any) -> jax.Array:
            return jax.jvp(weigh, (conditions, weights), (dconditions, dweights))[1]

        inside = weigh(conditions, weights)
        slopes = jax.vmap(slope)(dconditions, dweights)
        sums = sum_derivatives(jnp.stack(x, axis=1), inside, dx, slopes, points)
        return lax.all_gather(sums, "samples")

    return local


def _influences_of(hard: tuple[bool, ...], size: int) -> Callable:
    def local(total, population, window, points, sensitivity):
        x, conditions, weights = jax.tree.map(lambda a: a[0], population)
        inside = in_window(conditions, weights, window, hard)
        more = influences(jnp.stack(x, axis=1), inside, weights, points, sensitivity)
        return total + _over_copies(more, size)

    return local


def _over_copies(influences: jax.Array, size: int) -> jax.Array:
    """Influences (1, size, P) of the rows of a block, summed over the copies of each row."""
    copies = influences.reshape(-1, size, influences.shape[1])
    return jnp.sum(copies, axis=0)[None]


def _products(first, second, training):
    """Products for model influences -first and -second and ``training``, see ``products``."""
    one, two, known = (a[0] for a in (first, second, training))
    products = matmul(one.T, two) - matmul(known.T, two) - matmul(one.T, known)
    return lax.all_gather((products, jnp.sum(one, axis=0)), "samples")
