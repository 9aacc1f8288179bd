"""Derivatives of a population's sums by the parameters, and influences of its samples on them.

The blocks of a population are drawn one on each device at a time, as ``population_sums`` does.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from kdescent_dist.blocks import matmul
from kdescent_dist.influences import in_window, influences, sum_derivatives
from kdescent_dist.mesh import tree_sum
from kdescent_dist.objective import PopulationObjective
from kdescent_dist.population_sums import CountedSet
from kdescent_dist.random import draw_key

PAIRS = 1 << 30  # samples x kernels and modes of all bins, of which derivatives are taken
AT_ONCE = 1 << 26  # values of derivatives of samples that a device holds, of some parameters
ROUNDS = 8  # populations of independent random numbers, of a small one


class PopulationInfluences:
    """The programs that draw blocks of a population and linearize its sums, on all devices.

    Of a large population they take some blocks, evenly spread over those of each device: which
    these are then depends on the number of devices, and so do the last digits of the results.

    Args:
        objective: the objective of the fit.
        names: columns that the bins need.
        sets: the bins, and the kernels and modes of each.
        params: (P,) parameters.
        seed: seed of the populations, any non-negative integer.
        progress: called after each bin of each turn, a block of every device.
    """

    def __init__(
        self,
        objective: PopulationObjective,
        names: Sequence[str],
        sets: Sequence[CountedSet],
        params: np.ndarray,
        seed: int,
        progress: Callable[[], None],
    ) -> None:
        self.layout, self.mesh = objective.layout, objective.mesh
        self.catalog, self.model = objective.data["catalog"], objective.model
        self.names, self.sets, self.params, self.progress = names, sets, params, progress
        self._seeds = np.random.SeedSequence(seed).generate_state(ROUNDS)
        turns, devices = self.layout.per_device(self.mesh), self.mesh.shape["samples"]
        points = sum(len(s.centers) + len(s.modes) for s in sets)
        pairs = pairs_of(PAIRS, len(params))
        most = max(pairs // (max(points, 1) * devices * self.layout.block_size), 1)
        spread = np.linspace(0, turns - 1, min(turns, most))
        self.turns = np.unique(np.rint(spread).astype(int)).tolist()
        used = sum(int(np.sum(self._real(turn))) for turn in self.turns)
        self.scale = self.layout.size / used
        self.rounds = int(np.clip(pairs // (max(points, 1) * used), 1, ROUNDS))
        whole, split = PartitionSpec(), PartitionSpec("samples")

        def compiled(local: Callable, in_specs: tuple, out_specs: Any) -> Callable:
            return jax.jit(
                jax.shard_map(
                    local, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
                )
            )

        drawn = (whole, whole, whole, split)
        self._draw = compiled(self._draw_local, drawn, split)
        self._linearize = compiled(self._linearize_local, (*drawn, whole), (split, split, whole))
        self._products = compiled(_products, (split, split, split), whole)

        @cache
        def derivatives(hard: tuple[bool, ...]) -> Callable:
            local = _derivatives_of(hard)
            return compiled(local, ((split, split, split), (split, split, split), whole), whole)

        @cache
        def added(hard: tuple[bool, ...]) -> Callable:
            local = _influences_of(hard, self.layout.block_size)
            return compiled(local, (split, (split, split, split), whole, whole), split)

        self._derivatives, self._added = derivatives, added

    def sums(self) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
        """Sums over the population and their derivatives, means over several populations.

        Where few samples count, a derivative is noisy: it is about as large as that of one kernel.
        Noise of derivatives does not average out of their squares, as which they are used.

        Returns:
            The sum of all weights and its P derivatives, (1 + P,); of each bin, what
            ``sum_derivatives`` returns.
        """
        values = self.layout.block_size * (len(self.names) + 1)
        size = int(np.clip(AT_ONCE // values, 1, len(self.params)))
        parts = [self._slopes(d) for d in self._directions(size)]
        used = slice(len(self.params))
        slopes = np.concatenate([weight[1:] for weight, _ in parts])[used]
        weight, sums = parts[0]
        for i, of_bin in enumerate(sums):
            of_bin["slopes"] = np.concatenate([part[i]["slopes"] for _, part in parts])[used]
        return np.append(weight[:1], slopes), sums

    def _directions(self, size: int) -> Iterator[np.ndarray]:
        """Unit vectors (size, P) of parameters, in groups, the last one filled up with zeros."""
        number = len(self.params)
        units = np.eye(-(-number // size) * size, number, dtype=self.params.dtype)
        yield from units.reshape(-1, size, number)

    def _slopes(self, directions: np.ndarray) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
        """As ``sums``, with derivatives along directions (directions, P)."""
        weight = np.zeros(1 + len(directions))
        totals: list[dict[str, Any]] = [{} for _ in self.sets]
        for seed, turn in itertools.product(self._seeds[: self.rounds], self.turns):
            population, tangents, weights = self._linearize(
                self.params, seed, np.int32(turn), self.catalog, directions
            )
            weight += np.sum(jax.device_get(weights), axis=0, dtype=float)
            for total, counted in zip(totals, self.sets, strict=True):
                program = self._derivatives(_hard(counted))
                chosen = _of_bin(population, counted), _of_bin(tangents, counted)
                sums = jax.device_get(program(*chosen, _bin_arrays(counted)))
                for name, values in sums.items():
                    total[name] = total.get(name, 0.0) + np.sum(values, axis=0, dtype=float)
                self.progress()
        scale = self.scale / self.rounds
        scaled = [{name: scale * v for name, v in total.items()} for total in totals]
        return scale * weight, scaled

    def products(
        self,
        factors: Sequence[Any],
        *,
        fixed_key: bool,
        training: Callable[[np.ndarray], Any] | None = None,
        training_factors: Sequence[Any] = (),
    ) -> np.ndarray:
        """Sums of products (P, P) of influences of the rows from which the population is made.

        Copies of a row add up to its influence. Unless random numbers are the same in every step,
        they average out: the products are of two populations of independent numbers, whose
        expectation has the influence of the rows of the input catalog alone.

        Args:
            factors: of each bin, as of ``influences``.
            fixed_key: whether random numbers are the same in every step.
            training: columns and weights, the last one, of the rows (n,) of the input catalog in
                the training catalog, where they are the same: what is returned is then what these
                influences change of the sum of the products of the influences of the training
                catalog.
            training_factors: of each bin, those of the training catalog.
        """
        size = len(self.params)
        total, first_sum = np.zeros((size, size)), np.zeros(size)
        for turn in self.turns:
            first = self._turn(turn, self._seeds[0], factors)
            second = first if fixed_key else self._turn(turn, self._seeds[1], factors)
            rows = self._zeros()
            if training is not None:
                rows = self._of_rows(turn, training, training_factors)
            products, sums = jax.device_get(self._products(first, second, rows))
            total += np.sum(products, axis=0, dtype=float)
            first_sum += np.sum(sums, axis=0, dtype=float)
        if not self.catalog:
            # Samples of a given number, each drawn by itself, vary about their mean.
            total -= np.outer(first_sum, first_sum) * self.scale / self.layout.size
        return self.scale * 0.5 * (total + total.T)

    def _turn(self, turn: int, seed: Any, factors: Sequence[Any]) -> jax.Array:
        population = self._draw(self.params, seed, np.int32(turn), self.catalog)
        return self._add_up(population, factors)

    def _of_rows(self, turn: int, training: Callable, factors: Sequence[Any]) -> jax.Array:
        """Influences of the same rows as samples of the training catalog."""
        size = self.layout.block_size
        real = self._real(turn)
        starts = size * (np.arange(len(real)) * self.layout.per_device(self.mesh) + turn)
        rows = np.minimum(starts[:, None] + np.arange(size), self.layout.size - 1)
        chosen, places = np.unique(rows, return_inverse=True)
        columns, weights = training(chosen)
        weights = np.where(np.arange(size) < real[:, None], weights[places.reshape(rows.shape)], 0)
        dealt = {name: self._dealt(v[places.reshape(rows.shape)]) for name, v in columns.items()}
        return self._add_up((dealt, self._dealt(weights.astype(self.params.dtype))), factors)

    def _add_up(self, population: Any, factors: Sequence[Any]) -> jax.Array:
        total = self._zeros()
        for counted, of_bin in zip(self.sets, factors, strict=True):
            program = self._added(_hard(counted))
            chosen = _of_bin(population, counted)
            total = program(total, chosen, _bin_arrays(counted), of_bin)
            self.progress()
        return total

    def _zeros(self) -> jax.Array:
        devices, size = self.mesh.shape["samples"], self.layout.block_size
        return self._dealt(np.zeros((devices, size, len(self.params)), self.params.dtype))

    def _dealt(self, values: np.ndarray) -> jax.Array:
        sharding = NamedSharding(self.mesh, PartitionSpec("samples"))
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    def _real(self, turn: int) -> np.ndarray:
        """Samples (devices,) in the blocks of a turn that are no padding."""
        devices = np.arange(self.mesh.shape["samples"])
        first = (devices * self.layout.per_device(self.mesh) + turn) * self.layout.block_size
        return np.clip(self.layout.size - first, 0, self.layout.block_size)

    def _population(self, params: Any, seed: Any, turn: Any, catalog: Any) -> Any:
        key = draw_key(jax.random.key(seed))
        block = lax.axis_index("samples") * self.layout.per_device(self.mesh) + turn
        mine = {name: values[turn] for name, values in catalog.items()}
        population = self.model.population(params, key, block, mine)
        return {name: population.x[name] for name in self.names}, population.weights

    def _draw_local(self, params, seed, turn, catalog):
        return jax.tree.map(lambda a: a[None], self._population(params, seed, turn, catalog))

    def _linearize_local(self, params, seed, turn, catalog, directions):
        """The population of a block, its derivatives along directions, and sums of weights."""

        def of(params: jax.Array) -> Any:
            return self._population(params, seed, turn, catalog)

        def along(direction: jax.Array) -> Any:
            return jax.jvp(of, (params,), (direction,))[1]

        drawn, tangents = of(params), lax.map(along, directions)
        weights = jnp.concatenate([drawn[1][None], tangents[1]])
        sums = lax.all_gather(jax.vmap(tree_sum)(weights), "samples")
        return *jax.tree.map(lambda a: a[None], (drawn, tangents)), sums


def pairs_of(most: int, parameters: int) -> int:
    """Pairs of samples and kernels to take, fewer where each counts for many parameters."""
    return most * 32 // max(parameters, 32)


def each_bin(sets: Sequence[CountedSet], factors: Sequence[Any]) -> Iterator[tuple]:
    """Of each bin: its columns, window, hard edges, points and factors."""
    for counted, of_bin in zip(sets, factors, strict=True):
        yield counted.pretrained.bin, *_bin_arrays(counted), _hard(counted), of_bin


def _hard(counted: CountedSet) -> tuple[bool, ...]:
    return tuple(softness == 0 for softness in counted.pretrained.bin.softness)


def _bin_arrays(counted: CountedSet) -> tuple[Any, Any]:
    return counted.window, (counted.centers, counted.cov, counted.modes)


def _of_bin(population: Any, counted: CountedSet) -> tuple:
    """The columns of a bin, its conditional columns, and the weights."""
    columns, weights = population
    bin_ = counted.pretrained.bin
    x, conditions = (tuple(columns[n] for n in names) for names in (bin_.columns, bin_.window))
    return x, conditions, weights


def _derivatives_of(hard: tuple[bool, ...]) -> Callable:
    def local(population, tangents, bin_arrays):
        (x, conditions, weights), (dx, dconditions, dweights) = jax.tree.map(
            lambda a: a[0], (population, tangents)
        )
        window, points = bin_arrays

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
    def local(total, population, bin_arrays, factors):
        x, conditions, weights = jax.tree.map(lambda a: a[0], population)
        window, points = bin_arrays
        inside = in_window(conditions, weights, window, hard)
        more = influences(jnp.stack(x, axis=1), inside, weights, points, factors)
        copies = more.reshape(-1, size, more.shape[1])
        return total + jnp.sum(copies, axis=0)[None]

    return local


def _products(first, second, training):
    """Of influences -first and -second besides those in the training catalog; see ``products``."""
    one, two, known = (a[0] for a in (first, second, training))
    products = matmul(one.T, two) - matmul(known.T, two) - matmul(one.T, known)
    return lax.all_gather((products, jnp.sum(one, axis=0)), "samples")
