"""Blocks of a population, drawn on each device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response.points import EvaluationPoints

PAIRS = 1 << 30  # most samples x points of all bins


def draw_block(
    objective: PopulationObjective,
    names: Sequence[str] | None,
    params: jax.Array,
    key_data: Any,
    turn: Any,
    catalog: Mapping[str, jax.Array],
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Columns and weights of a block of a population; call this within ``jax.shard_map``.

    Args:
        objective: the objective of the fit.
        names: the columns to return, None for all columns.
        params: (parameters,) parameters.
        key_data: data of the key of the population, see ``population_keys``.
        turn: index of the block among the blocks of the device.
        catalog: input catalog of the device, each column (blocks, block_size).
    """
    key = jax.random.wrap_key_data(key_data)
    block = lax.axis_index("samples") * objective.layout.per_device(objective.mesh) + turn
    mine = {name: values[turn] for name, values in catalog.items()}
    population = objective.model.population(params, key, block, mine)
    return {name: population.x[name] for name in names or population.x}, population.weights


def on_each_device(mesh: Mesh, local: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """A compiled program that calls ``local`` on each device with the device's part."""
    mapped = jax.shard_map(
        local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
    return compiled(mapped, mesh.devices.flat[0])


def pairs_of(most: int, parameters: int) -> int:
    """Most pairs of samples and points: fewer than ``most`` for more than 32 parameters."""
    return most * 32 // max(parameters, 32)


def most_blocks(
    objective: PopulationObjective, sets: Sequence[EvaluationPoints], parameters: int
) -> int:
    """The number of blocks of a population, times the points of all bins, is limited."""
    points = max(sum(one.number for one in sets), 1)
    return max(pairs_of(PAIRS, parameters) // (points * objective.layout.block_size), 1)


def block_of(population: Any, counted: EvaluationPoints) -> tuple:
    """The compared columns of a bin, its conditional columns, and the weights."""
    columns, weights = population
    return *counted.columns_of(columns), weights


class ChosenBlocks:
    """Some blocks of a population, which represent all blocks.

    The blocks are evenly spread. Which blocks are chosen does not depend on the mesh. In each turn,
    each device has one of its chosen blocks, or none.

    Args:
        objective: the objective of the fit.
        most: most blocks to choose.

    Attributes:
        turns: for each turn, a table (devices, 2): index of a block among the blocks of the device,
            and 1; or 0 and 0 for no block.
        numbers: for each turn, numbers (devices,) of samples in the blocks, without padding.
        used: number of samples in the chosen blocks.
        scale: number of all samples, divided by ``used``.
    """

    def __init__(self, objective: PopulationObjective, most: int) -> None:
        self._objective = objective
        layout, mesh = objective.layout, objective.mesh
        self._size, self._per_device = layout.block_size, layout.per_device(mesh)
        spread = np.linspace(0, layout.count - 1, int(np.clip(most, 1, layout.count)))
        blocks = np.unique(np.rint(spread).astype(int))
        devices = mesh.shape["samples"]
        of_device = [blocks[blocks // self._per_device == i] for i in range(devices)]
        self.turns = []
        for turn in range(max(len(one) for one in of_device)):
            table = np.zeros((devices, 2), np.int32)
            for i, one in enumerate(of_device):
                if turn < len(one):
                    table[i] = one[turn] - i * self._per_device, 1
            self.turns.append(table)
        rows = [layout.size - self.first_rows(table) for table in self.turns]
        self.numbers = [
            np.clip(left, 0, self._size) * table[:, 1]
            for left, table in zip(rows, self.turns, strict=True)
        ]
        self.used = int(np.sum(self.numbers))
        self.scale = layout.size / self.used

    def first_rows(self, table: np.ndarray) -> np.ndarray:
        """Number (devices,) of the first sample in each block of a turn."""
        blocks = np.arange(len(table)) * self._per_device + table[:, 0]
        return blocks * self._size

    def draw(
        self,
        names: Sequence[str] | None,
        params: jax.Array,
        key_data: Any,
        table: jax.Array,
        catalog: Mapping[str, jax.Array],
    ) -> tuple[dict[str, jax.Array], jax.Array]:
        """As ``draw_block``, of the part (1, 2) of a turn; no block has no weights."""
        turn, real = table[0]
        columns, weights = draw_block(self._objective, names, params, key_data, turn, catalog)
        return columns, jnp.where(real > 0, weights, 0)
