"""Sums over whole populations at given points of each bin, and gradients of the sums."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.sums import points_at, sums_of_stack
from kdescent_dist.numerics.compiled import compiled
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.units import UnitSums


class SumsAtPoints:
    """The programs that sum over a population at fixed points.

    The sums are added up as in a step of a fit. With the reduction ``reproducible``, they have the
    same bits on any mesh. The totals are a dict: ``weight``, the sum of all weights; ``stacks``,
    the sums of each stack, with counts (m, k, parts); and ``extra_sums``, the sums of
    ``loss.extra_sums``, () without.

    Args:
        objective: the objective of the fit.
        rows: for each stack of the objective, names of statistics to indices (m, k) of points.
    """

    def __init__(
        self, objective: PopulationObjective, rows: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        self._objective = objective
        self._rows = [{n: np.asarray(found, np.int32) for n, found in one.items()} for one in rows]
        rule, device = objective.chain_rule, objective.mesh.devices.flat[0]

        def program(name: str, sums: Callable[..., Any]) -> Callable[..., Any]:
            return objective.programs.of(name, lambda: compiled(partial(sums, self._make), device))

        self._totals = program("totals", rule.totals)
        self._pull_back = program("pull back", rule.pull_back)

    def totals(self, params: np.ndarray, key_data: np.ndarray) -> dict[str, Any]:
        """The totals of the population of a key at (parameters,) ``params``."""
        return jax.device_get(self._totals(params, self._data(key_data)))

    def gradient(
        self, params: np.ndarray, key_data: np.ndarray, cotangent: Mapping[str, Any]
    ) -> np.ndarray:
        """The gradient (parameters,) of a linear function of the totals.

        Args:
            params: (parameters,) parameters.
            key_data: data of the key of the population.
            cotangent: derivatives of the function with respect to the totals.
        """
        cotangent = jax.tree.map(lambda a: np.asarray(a, params.dtype), dict(cotangent))
        found = self._pull_back(params, self._data(key_data), cotangent)
        return np.asarray(jax.device_get(found), float)

    def _data(self, key_data: np.ndarray) -> tuple[Any, Any, Any, jax.Array]:
        data = self._objective.data
        catalog = {"columns": data["catalog"], "orders": data["orders"]}
        return (key_data, self._rows), data["shared"], catalog, data["shares"]

    def _make(self, shared: Any, at: Any) -> tuple[UnitSums, Callable[[Any], dict[str, Any]]]:
        key_data, rows = at
        draws = points_at(shared["stacks"], rows, self._objective.chain_rule.kernel_blocks)
        key = jax.random.wrap_key_data(key_data)
        points = [{name: found.shape[1] for name, found in one.items()} for one in rows]

        def totals(sums: Any) -> dict[str, Any]:
            by_stack = zip(points, sums["stacks"], strict=True)

            def first(leaf: Any) -> Any:  # integers, too, must be differentiable
                return jnp.asarray(leaf[0], sums["weight"].dtype)

            return {
                "weight": sums["weight"][0],
                "stacks": [sums_of_stack(number, one["sums"]) for number, one in by_stack],
                "extra_sums": jax.tree.map(first, sums.get("extra_sums", ())),
            }

        return self._objective.unit_sums(shared, draws, key, squares=False), totals
