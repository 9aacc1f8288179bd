"""Influences of the samples of a population on estimates of the parameters.

Each device draws one block of the population at a time.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec

from kdescent_dist.distributed.mesh import dealt
from kdescent_dist.models.population import Population
from kdescent_dist.numerics.compensated import CompensatedSum
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.influence import (
    CHUNK,
    Dependent,
    Sensitivity,
    dependent,
    influences,
)
from kdescent_dist.response.population_blocks import (
    ChosenBlocks,
    block_of,
    most_blocks,
    on_each_device,
)


class PopulationInfluences:
    """The programs that draw blocks of a population, and the influences of their samples.

    Some blocks represent a large population, see ``ChosenBlocks``.

    Args:
        loss: the loss.
        params: (P,) parameters.
        size: number Q of the estimates.
        keys: data of the keys of populations, see ``population_keys``. ``products`` takes two, or
            one if all steps have one key.
        progress: called after each bin of each turn; a turn is one block on every device.
    """

    def __init__(
        self,
        loss: FixedLoss,
        params: np.ndarray,
        size: int,
        keys: Sequence[np.ndarray],
        progress: Callable[[], None],
    ) -> None:
        self.objective, self.params, self.size = loss.objective, params, size
        self.layout, self.mesh = self.objective.layout, self.objective.mesh
        self.catalog = self.objective.data["catalog"]
        self.sets, self.progress = loss.sets, progress
        self.names = None if self.objective.extra_sums is not None else loss.columns
        self._keys = keys
        self.blocks = ChosenBlocks(self.objective, most_blocks(self.objective, self.sets, size))
        whole, split = PartitionSpec(), PartitionSpec("samples")
        block = (split, split, split)

        def compiled(name: Hashable, local: Callable, in_specs: Any, out_specs: Any) -> Callable:
            return self.objective.programs.of(
                ("influences", name), lambda: on_each_device(self.mesh, local, in_specs, out_specs)
            )

        self._draw = compiled("draw", self._draw_local, (whole, whole, split, split), split)
        self._products = compiled("products", _products, block, whole)
        of_sums = (split, split, whole)
        self._of_extra_sums = compiled("extra sums", self._extra_sums_local, of_sums, split)

        self._own_products = compiled("own products", _own_products, (split,), whole)

        def added(hard: tuple[bool, ...]) -> Callable:
            of_block = (split, whole, block, whole, whole, whole)
            return compiled(("added", hard), _influences_of(hard), of_block, split)

        self._added = added

    def products(
        self,
        sensitivities: Sequence[Sensitivity],
        *,
        training: Callable[[np.ndarray], Any] | None = None,
        training_sensitivities: Sequence[Sensitivity] = (),
        extra_sums: np.ndarray | None = None,
    ) -> np.ndarray:
        """Sum of outer products (Q, Q) of the influences of the rows that make the population.

        The influences of the copies of a row add up. Random numbers that differ between steps
        average out: with two keys, the products are of two populations with independent random
        numbers, and their expectation includes only the influences of the rows of the input
        catalog.

        Args:
            sensitivities: for each bin, as in ``influences``.
            training: function from row numbers (n,) of the input catalog to columns and weights of
                the same rows in the training catalog, None if the catalogs share no rows. With
                it, the result is the change of the sum over rows of the training catalog.
            training_sensitivities: for each bin, sensitivities to the training catalog.
            extra_sums: (Q, S) derivatives with respect to the S sums of ``loss.extra_sums``, None
                without.
        """
        of_bins, of_training = (
            dependent(given) if given else [] for given in (sensitivities, training_sensitivities)
        )
        found = CompensatedSum()
        for turn, numbers in zip(self.blocks.turns, self.blocks.numbers, strict=True):
            of_keys = [self._turn(turn, key, of_bins, extra_sums) for key in self._keys]
            rows = self._zeros()
            if training is not None:
                rows = self._of_rows(turn, numbers, training, of_training)
            found.add_each(jax.device_get(self._products(of_keys[0], of_keys[-1], rows)))
        total, first_sum = found.total()
        if not self.catalog:
            # The number of generated samples is fixed: influences vary about their mean.
            total -= np.outer(first_sum, first_sum) * self.blocks.scale / self.layout.size
        return self.blocks.scale * 0.5 * (total + total.T)

    def products_of_galaxies(self, sensitivities: Sequence[Sensitivity]) -> np.ndarray:
        """Sum of outer products (Q, Q) of the influences of samples, each times its weight.

        It is a mean over the populations of all keys.

        Args:
            sensitivities: for each bin, as in ``influences``.
        """
        of_bins = dependent(sensitivities)
        return np.mean([self._of_galaxies(key, of_bins) for key in self._keys], axis=0)

    def _of_galaxies(self, key: np.ndarray, of_bins: Dependent) -> np.ndarray:
        found = CompensatedSum()
        for turn in self.blocks.turns:
            columns, weights = self._draw(self.params, key, turn, self.catalog)
            roots = columns, jnp.sqrt(jnp.abs(weights))
            size = weights.shape[1]
            found.add_each(jax.device_get(self._own_products(self._add_up(roots, of_bins, size))))
        return self.blocks.scale * found.total()

    def _turn(
        self,
        turn: np.ndarray,
        key: np.ndarray,
        of_bins: Dependent,
        extra_sums: np.ndarray | None,
    ) -> jax.Array:
        population = self._draw(self.params, key, turn, self.catalog)
        total = self._add_up(population, of_bins)
        if extra_sums is not None and extra_sums.size:
            total = self._of_extra_sums(total, population, extra_sums)
        return total

    def _of_rows(
        self,
        turn: np.ndarray,
        numbers: np.ndarray,
        training: Callable,
        of_bins: Dependent,
    ) -> jax.Array:
        """Influences of the same rows in the training catalog."""
        size = self.layout.block_size
        rows = self.blocks.first_rows(turn)[:, None] + np.arange(size)
        rows = np.minimum(rows, self.layout.size - 1)
        chosen, places = np.unique(rows, return_inverse=True)
        columns, weights = training(chosen)
        of_block = weights[places.reshape(rows.shape)]
        weights = np.where(np.arange(size) < numbers[:, None], of_block, 0)
        of_rows = {n: dealt(v[places.reshape(rows.shape)], self.mesh) for n, v in columns.items()}
        of_weights = dealt(weights.astype(self.params.dtype), self.mesh)
        return self._add_up((of_rows, of_weights), of_bins)

    def _add_up(self, population: Any, of_bins: Dependent, rows: int | None = None) -> jax.Array:
        """Influences (devices, rows, Q); by default of the rows of a block."""
        total = self._zeros(rows)
        for counted, (first, of_bin) in zip(self.sets, of_bins, strict=True):
            program = self._added(counted.pretrained.bin.hard)
            chosen = block_of(population, counted)
            total = program(total, first, chosen, counted.window, counted.points, of_bin)
            self.progress()
        return total

    def _zeros(self, rows: int | None = None) -> jax.Array:
        devices, size = self.mesh.shape["samples"], rows or self.layout.block_size
        return dealt(np.zeros((devices, size, self.size), self.params.dtype), self.mesh)

    def _draw_local(self, params, key, turn, catalog):
        drawn = self.blocks.draw(self.names, params, key, turn, catalog)
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


def _influences_of(hard: tuple[bool, ...]) -> Callable:
    def local(total, first, population, window, points, sensitivity):
        x, conditions, weights = jax.tree.map(lambda a: a[0], population)
        more = influences(x, conditions, weights, (window, hard), points, sensitivity)
        more = _over_copies(more, total.shape[1])
        known = lax.dynamic_slice_in_dim(total, first, more.shape[2], axis=2)
        return lax.dynamic_update_slice_in_dim(total, known + more, first, axis=2)

    return local


def _over_copies(influences: jax.Array, size: int) -> jax.Array:
    """Influences (1, size, Q) of the rows of a block, summed over the copies of each row."""
    copies = influences.reshape(-1, size, influences.shape[1])
    return jnp.sum(copies, axis=0)[None]


def _products(first, second, training):
    """Products for model influences -first and -second and ``training``, see ``products``."""
    one, two, known = (a[0] for a in (first, second, training))
    products = matmul(one.T, two) - matmul(known.T, two) - matmul(one.T, known)
    return lax.all_gather((products, jnp.sum(one, axis=0)), "samples")


def _own_products(influences):
    """Products of the influences of a block with themselves."""
    own = influences[0]
    return lax.all_gather(matmul(own.T, own), "samples")
