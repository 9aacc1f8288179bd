"""Influences of the regions of the catalogs on estimates: rows of a region move them together."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec

from kdescent_dist.bins.windows import in_window
from kdescent_dist.catalogs.training import TrainingCatalog
from kdescent_dist.distributed.mesh import dealt
from kdescent_dist.models.population import Population
from kdescent_dist.numerics.compensated import CompensatedSum
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.influence import CHUNK, Sensitivity
from kdescent_dist.response.points import EvaluationPoints
from kdescent_dist.response.population_blocks import ChosenBlocks, block_of, on_each_device
from kdescent_dist.response.region_sums import Ranked, RegionTable, chunk_sums, table_width


def training_regions(
    training: TrainingCatalog,
    sets: Sequence[EvaluationPoints],
    sensitivities: Sequence[Sensitivity],
    progress: Callable[[], None],
) -> np.ndarray:
    """The influence (K, Q) of each region of the training catalog on Q numbers, of all its rows.

    Args:
        training: the catalog, with regions. Processes that share its rows must call this together.
        sets: the points of each bin.
        sensitivities: for each bin, derivatives of the numbers with respect to its sums.
        progress: called once for each block, equally often in every process.
    """
    regions, rows = training.regions, training.rows
    assert regions is not None
    weights = np.asarray(training.weights)
    ranked = [Ranked.of(regions.of_rows[block]) for block in rows.slices]
    most = np.array([max((one.width for one in ranked), default=1)], np.int32)
    width = table_width(int(rows.processes.largest(most)[0]))
    size = sensitivities[0].weight.size
    total = CompensatedSum()
    total.add(np.zeros((regions.count, size)))
    for turn in range(-(-rows.count // rows.processes.count)):
        progress()
        if turn >= len(rows.slices) or not len(ranked[turn].ranks):
            continue
        block, of_block = rows.slices[turn], ranked[turn]
        x = {name: jnp.asarray(values[block]) for name, values in training.columns.items()}
        table = RegionTable(regions.count, size)
        for counted, of_bin in zip(sets, sensitivities, strict=True):
            given = (*counted.columns_of(x), jnp.asarray(weights[block]), of_block.ranks)
            bin_ = counted.window, counted.points, counted.pretrained.bin.hard
            table.add(jax.device_get(_of_rows(*given, *bin_, width)), of_block, of_bin)
        total.add(table.values)
    of_all = CompensatedSum()
    for parts in rows.processes.exchange(np.stack(total.parts())):
        of_all.add_each(parts)
    return of_all.total()


@partial(jax.jit, static_argnames=("hard", "width"))
def _of_rows(x, conditions, weights, ranks, window, points, hard, width):
    inside = in_window(conditions, weights, window, hard)
    return chunk_sums(jnp.stack(x, axis=1), inside, weights, None, ranks, points, width)


class PopulationRegions:
    """The influences of the regions of an input catalog, which is the training catalog.

    All blocks of the population are drawn: some rows of a region would not represent the region.

    Args:
        loss: the loss.
        params: (P,) parameters.
        progress: called after each bin of each turn; a turn is one block on every device.
    """

    def __init__(self, loss: FixedLoss, params: np.ndarray, progress: Callable[[], None]) -> None:
        self.objective, self.params, self.progress = loss.objective, params, progress
        self.layout, self.mesh = self.objective.layout, self.objective.mesh
        self.sets = loss.sets
        self.names = None if self.objective.extra_sums is not None else loss.columns
        self.rows = loss.rows
        self.blocks = ChosenBlocks(self.objective, self.layout.count)
        self._ranked = [self._regions(turn) for turn in self.blocks.turns]
        width = table_width(max(one.width for turn in self._ranked for one in turn))
        whole, split = PartitionSpec(), PartitionSpec("samples")

        def compiled(name: Hashable, local: Callable, in_specs: Any, out_specs: Any) -> Callable:
            return self.objective.programs.of(
                ("regions", name), lambda: on_each_device(self.mesh, local, in_specs, out_specs)
            )

        self._draw = compiled("draw", self._draw_local, (whole, whole, split, split), split)

        def sums(hard: tuple[bool, ...]) -> Callable:
            block = (split, split, split)
            specs = (block, split, split, whole, whole)
            return compiled(("sums", hard, width), _sums_of(hard, width), specs, whole)

        self._sums = sums

    def influences(
        self,
        key: np.ndarray,
        sensitivities: Sequence[Sensitivity],
        extra_sums: np.ndarray | None,
    ) -> np.ndarray:
        """The influence (K, Q) of each region on Q numbers, through the population of a key.

        Args:
            key: data of the key of the population, see ``population_keys``.
            sensitivities: for each bin, derivatives of the numbers with respect to its sums.
            extra_sums: (Q, S) derivatives with respect to the S sums of ``loss.extra_sums``, None
                without.
        """
        regions = self.rows.training.regions
        assert regions is not None
        size = sensitivities[0].weight.size
        total, catalog = CompensatedSum(), self.objective.data["catalog"]
        for turn, ranked in zip(self.blocks.turns, self._ranked, strict=True):
            population, further = self._draw(self.params, key, turn, catalog)
            ranks = dealt(np.stack([one.ranks for one in ranked]), self.mesh)
            tables = [RegionTable(regions.count, size) for _ in ranked]
            for i, (counted, of_bin) in enumerate(zip(self.sets, sensitivities, strict=True)):
                program = self._sums(counted.pretrained.bin.hard)
                given = block_of(population, counted), further, ranks
                found = jax.device_get(program(*given, counted.window, counted.points))
                of_further = extra_sums if i == 0 else None  # once, not for each bin
                for j, (table, one) in enumerate(zip(tables, ranked, strict=True)):
                    of_device = jax.tree.map(lambda a, j=j: a[j], found)
                    table.add(of_device, one, of_bin, of_further)
                self.progress()
            for table in tables:
                total.add(table.values)
        return total.total()

    def _regions(self, turn: np.ndarray) -> list[Ranked]:
        """The regions of the rows of each block of a turn; padding has that of the last row."""
        rows = self.blocks.first_rows(turn)[:, None] + np.arange(self.layout.block_size)
        rows = np.minimum(rows, self.layout.size - 1)
        chosen, places = np.unique(rows, return_inverse=True)
        of_rows = self.rows.regions_of(chosen)[places.reshape(rows.shape)]
        return [Ranked.of(of_block) for of_block in of_rows]

    def _draw_local(self, params, key, turn, catalog):
        """The samples of a block, and the contributions (n, S) of each to ``loss.extra_sums``."""
        columns, weights = self.blocks.draw(self.names, params, key, turn, catalog)
        own = self.objective.extra_sums

        def of_sample(sample: Any) -> jax.Array:
            one, weight = jax.tree.map(lambda a: a[None], sample)
            return ravel_pytree(own(Population(one, weight)))[0]  # type: ignore[misc]

        further = None
        if own is not None:
            further = lax.map(of_sample, (columns, weights), batch_size=CHUNK)
            # No block has no extra sums, even if the term counts rows without weight.
            further = jnp.where(turn[0, 1] > 0, further, 0)
        return jax.tree.map(lambda a: a[None], ((columns, weights), further))


def _sums_of(hard: tuple[bool, ...], width: int) -> Callable:
    def local(population, further, ranks, window, points):
        (x, conditions, weights), more, ranks = jax.tree.map(
            lambda a: a[0], (population, further, ranks)
        )
        inside = in_window(conditions, weights, window, hard)
        of_samples = jnp.tile(ranks, len(weights) // len(ranks))  # of the copies of the rows
        found = chunk_sums(jnp.stack(x, axis=1), inside, weights, more, of_samples, points, width)
        return lax.all_gather(found, "samples")

    return local
