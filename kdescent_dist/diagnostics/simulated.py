"""Simulated training catalogs, drawn from a model at given parameters.

A simulated catalog has the noise that the errors of the parameters state. Its rows are independent
draws, and so are the rows of the input catalog of its fit:

- A generative model makes populations of fresh keys. A sample becomes a row with a probability in
  proportion to its weight, so no sample is taken twice (von Neumann 1951). The weights of rows are
  drawn from those of the training catalog, independent of the columns.
- With an input catalog of its own, the same holds for a population of rows that are drawn from the
  input catalog with replacement. The input catalog of the fit is drawn with replacement, too.
- Where the training catalog is the input catalog, its rows are drawn with replacement, each with
  its weight (the bootstrap: Efron 1979). The model makes new columns for each row that is drawn. Of
  the copies of a row, one is taken with a probability in proportion to its weight. If the weights
  of the copies of a row do not add up to the same number for all rows, rows are drawn in proportion
  to this number.

The number of rows is that of the training catalog. Where the loss depends on total weights, the
number has a Poisson distribution whose mean is that of the model; rows without weight fill the
catalog up, so that programs of fixed shapes serve all catalogs. Rows that are also the input of the
model keep their number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from kdescent_dist.config.errors import InputError
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.mesh import replicated
from kdescent_dist.models.block_model import INPUT_WEIGHTS
from kdescent_dist.response.population_blocks import draw_block, on_each_device
from kdescent_dist.response.population_keys import population_keys

MOST_POPULATIONS = 1000  # of one catalog, of which rows are taken
SPARE = 6.0  # standard deviations of a Poisson number for which a catalog has rows
SAME = 1e-5  # relative differences of the total weights of rows that are rounding


@dataclass(frozen=True)
class SimulatedCatalog:
    """A training catalog, and the input catalog of its fit; all processes have all rows.

    Attributes:
        columns: names to (n,) columns that the bins use.
        weights: (n,) weights.
        inputs: names to (samples,) columns of the input catalog; empty for a generative model, or
            if the input catalog stays.
        input_weights: (samples,) weights of the input catalog, None without.
        input_rows: as in ``Problem``.
    """

    columns: Mapping[str, np.ndarray]
    weights: np.ndarray
    inputs: Mapping[str, np.ndarray]
    input_weights: np.ndarray | None = None
    input_rows: np.ndarray | range | None = None


class Simulation:
    """Draws catalogs from the model of a fit.

    Args:
        problem: the fit. Processes that share its catalogs must call the methods together.
        params: (P,) parameters.

    Raises:
        InputError: counts are given in place of a training catalog, and cannot be drawn.
    """

    def __init__(self, problem: Problem, params: np.ndarray) -> None:
        self._problem, self._objective = problem, problem.objective
        self._params = np.asarray(params, problem.guess.dtype)
        for one in problem.bins:
            if given := [name for name, counts in one.statistics.items() if counts.given]:
                raise InputError(
                    f"bins.{one.bin.group}: the counts of {', '.join(given)} are given, and no "
                    "catalog is drawn for them: mode=coverage needs a training catalog in all bins"
                )
        self._rows = problem.training.rows.total
        self._layout, mesh = self._objective.layout, self._objective.mesh
        self._names = problem.columns
        whole, split = PartitionSpec(), PartitionSpec("samples")
        self._draw = self._objective.programs.of(
            "simulation",
            lambda: on_each_device(mesh, self._draw_local, (whole, whole, whole, split), whole),
        )

    def catalog(self, seed: int) -> SimulatedCatalog:
        """The catalog of a seed, the same for any number of processes and devices."""
        rng = np.random.default_rng(seed)
        keys = population_keys(seed, MOST_POPULATIONS)
        if self._problem.input_rows is not None:
            return self._of_same_rows(rng, keys)
        return self._of_other_rows(rng, keys)

    def _of_other_rows(self, rng: np.random.Generator, keys: list[np.ndarray]) -> SimulatedCatalog:
        size, inputs = self._layout.size, self._inputs
        number, weights = self._new_weights(rng)
        taken, found, most = [], 0, 0.0
        for key in keys:
            drawn = rng.integers(size, size=size) if inputs else None
            columns, by_sample = self._population(key, inputs, drawn)
            most = most or float(by_sample.max())
            kept = rng.uniform(size=by_sample.shape) * most < by_sample
            taken.append({name: values[kept] for name, values in columns.items()})
            found += int(np.sum(kept))
            if found >= number:
                break
        else:
            raise InputError(
                f"mode=coverage: only {found} of {number} rows in {len(keys)} populations: the "
                "weights of the model differ too much for rows to be drawn"
            )
        chosen = rng.permutation(found)[:number]
        rows = np.resize(chosen, len(weights))  # rows beyond the number have no weight
        columns = {n: np.concatenate([one[n] for one in taken])[rows] for n in self._names}
        if not inputs:
            return SimulatedCatalog(columns, weights, {})
        again = rng.integers(size, size=size)
        own = {name: values[again] for name, values in inputs.items()}
        return SimulatedCatalog(columns, weights, own, own.pop(INPUT_WEIGHTS, None))

    def _of_same_rows(self, rng: np.random.Generator, keys: list[np.ndarray]) -> SimulatedCatalog:
        number, size = self._rows, self._layout.size
        columns, weights = self._training
        names = [name for name in self._objective.data["catalog"] if name != INPUT_WEIGHTS]
        weighted = len(names) < len(self._objective.data["catalog"])
        inputs = {name: columns[name] for name in names}
        if weighted:
            inputs[INPUT_WEIGHTS] = np.ones_like(weights)
        parts = -(-number // size)
        share = self._outcomes(inputs, keys[:parts])[1].sum(axis=1, dtype=float)
        if np.ptp(share) > SAME * share.max():
            drawn = rng.choice(number, number, p=share / share.sum())
        else:
            drawn = rng.integers(number, size=number)
        inputs = {name: values[drawn] for name, values in inputs.items()}
        made, by_copy = self._outcomes(inputs, keys[parts : 2 * parts])
        upto = np.cumsum(by_copy, axis=1, dtype=float)
        copy = np.sum(rng.uniform(size=(number, 1)) * upto[:, -1:] >= upto, axis=1)
        copy = np.minimum(copy, by_copy.shape[1] - 1)
        found = {name: values[np.arange(number), copy] for name, values in made.items()}
        weights = weights[drawn]
        rows: np.ndarray | range = range(number)
        if size < number:
            rows = np.sort(rng.choice(number, size, replace=False))
        of_input = np.asarray(rows)
        own = {name: inputs[name][of_input] for name in names}
        scaled = weights[of_input] * weights.dtype.type(number / size) if weighted else None
        return SimulatedCatalog(found, weights, own, scaled, rows)

    def _outcomes(
        self, inputs: Mapping[str, np.ndarray], keys: list[np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns and weights (rows, copies) of the population of rows of an input catalog."""
        size = self._layout.size
        parts = []
        for i, key in enumerate(keys):
            rows = np.arange(i * size, (i + 1) * size) % self._rows
            parts.append(self._population(key, inputs, rows))

        def joined(*by_part: np.ndarray) -> np.ndarray:
            return np.concatenate(by_part)[: self._rows]

        return jax.tree.map(joined, *parts)

    def _population(
        self, key: np.ndarray, inputs: Mapping[str, np.ndarray], rows: np.ndarray | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns and weights (samples, copies) of a population of rows of an input catalog."""
        layout, mesh = self._layout, self._objective.mesh
        cut = {}
        if rows is not None:
            first, last = layout.rows(mesh)
            mine = rows[first:last]
            cut = {name: layout.cut(v[mine], mesh, first) for name, v in inputs.items()}
        turns = [
            jax.device_get(self._draw(self._params, key, np.int32(turn), cut))
            for turn in range(layout.per_device(mesh))
        ]

        def in_order(*by_turn: np.ndarray) -> np.ndarray:
            # (turns, devices, copies x block) to (samples, copies)
            blocks = np.stack(by_turn, axis=1)
            blocks = blocks.reshape(-1, blocks.shape[-1] // layout.block_size, layout.block_size)
            return np.moveaxis(blocks, 1, 2).reshape(-1, blocks.shape[1])[: layout.size]

        return jax.tree.map(in_order, *turns)

    def _draw_local(self, params: Any, key: Any, turn: Any, catalog: Any) -> Any:
        drawn = draw_block(self._objective, self._names, params, key, turn, catalog)
        return lax.all_gather(drawn, "samples")

    def _new_weights(self, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """The number of rows of a catalog, and the weights of all rows with those that fill it."""
        number, filled = self._rows, self._rows
        weights = self._training[1]
        mean = float(np.mean(weights, dtype=float))
        if self._counts_rows:
            expected = self._total_weight / mean
            number = int(rng.poisson(expected))
            filled = max(int(np.ceil(expected + SPARE * np.sqrt(expected))), number)
        drawn = rng.choice(weights, filled)
        drawn[number:] = 0
        return number, drawn

    @property
    def _counts_rows(self) -> bool:
        """Whether the loss depends on total weights."""
        configs = [one.bin.config for one in self._problem.bins]
        return any(c.number_density or c.normalization == "counts" for c in configs)

    @cached_property
    def _total_weight(self) -> float:
        """The expected sum of the weights of the model."""
        (key,) = population_keys(self._problem.seed, 1)
        rows = np.arange(self._layout.size) if self._inputs else None
        return float(np.sum(self._population(key, self._inputs, rows)[1], dtype=float))

    @cached_property
    def _inputs(self) -> dict[str, np.ndarray]:
        """All rows of the input catalog of the model."""
        everywhere = jax.jit(lambda a: a, out_shardings=replicated(self._objective.mesh))
        catalog = jax.tree.map(everywhere, self._objective.data["catalog"])
        return {n: np.asarray(a).reshape(-1)[: self._layout.size] for n, a in catalog.items()}

    @cached_property
    def _training(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """All rows of the training catalog."""
        return self._problem.training.pick(np.arange(self._rows))
