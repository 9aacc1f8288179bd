"""Derivatives of the gradient of ``loss.custom`` with respect to the sums.

The term L(m, d, p) depends on the sums m of the model, the sums d of the training catalog and the
parameters p. With the derivatives J of m with respect to p, the gradient of the term is

    G = J^T dL/dm + dL/dp.

At the minimum of the loss, the gradient of the loss is 0. The derivatives of G, at the sums, give
the change of G for small changes of m, d and p. Second derivatives of m with respect to p are
neglected, as in the Gauss-Newton method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin_sums import BinSums
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.terms import Sums, by_group
from kdescent_dist.response.compared import double
from kdescent_dist.response.influence import Sensitivity, SumDerivatives
from kdescent_dist.response.points import EvaluationPoints
from kdescent_dist.response.population_totals import PopulationTotals


@dataclass(frozen=True)
class CustomPull:
    """Derivatives of the gradient (P,) of ``loss.custom``.

    Attributes:
        curvature: (P, P) with respect to the parameters, through the sums and directly.
        model, training: with respect to the sums of model and training catalog, for each bin.
        extra_sums: (P, S) with respect to the S sums of ``loss.extra_sums``.
    """

    curvature: np.ndarray
    model: list[Sensitivity]
    training: list[Sensitivity]
    extra_sums: np.ndarray

    def change(self, totals: PopulationTotals) -> np.ndarray:
        """The gradient (P,) as a linear function of sums, but for a constant."""
        leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(totals.extra_sums)]
        moved = self.extra_sums @ np.concatenate([np.zeros(0), *leaves])
        for one, sums in zip(self.model, totals.of_custom, strict=True):
            moved = moved + one.weight * totals.weight + one.sums.weight * sums.weight
            for name, by_count in one.sums.counts.items():
                moved = moved + np.tensordot(by_count, sums.counts[name], axes=2)
        return moved

    def times(self, factor: float) -> "CustomPull":
        """The derivatives for a term that is multiplied by a factor."""
        values = (self.curvature, self.model, self.training, self.extra_sums)
        return CustomPull(*jax.tree.map(lambda a: factor * a, values))


class CustomTerm:
    """``loss.custom`` as a function of the sums, and its derivatives.

    Args:
        objective: the objective, which has a ``loss.custom``.
        params: (P,) parameters.
        sets: the bins at the points of a step.
        found: the sums of the model at the points of ``sets``.
        weight: sum of all weights of the model, and its derivatives (P,).
        extra_sums: sums of ``loss.extra_sums``, and their derivatives (P, ...); empty without.
    """

    def __init__(
        self,
        objective: PopulationObjective,
        params: np.ndarray,
        sets: Sequence[EvaluationPoints],
        found: Sequence[SumDerivatives],
        weight: tuple[np.ndarray, np.ndarray],
        extra_sums: tuple[Any, Any],
    ) -> None:
        self.objective = objective
        own, own_slopes = extra_sums if objective.extra_sums is not None else (None, None)
        with jax.enable_x64(True):
            self._model = double((weight[0], [one.sums for one in found], own))
            self._slopes = double((weight[1], [one.slopes for one in found], own_slopes))
            self._truth = double((objective.training_weight, [counted.truth for counted in sets]))
            self._params, self._units = double(params), jnp.eye(len(params), dtype=float)

    def value(self, totals: PopulationTotals, params: np.ndarray) -> float:
        """The term of the sums of a population at parameters (P,)."""
        with jax.enable_x64(True):
            return float(self._term(self._sums(totals), self._truth, double(params)))

    def gradients(
        self, totals: PopulationTotals, params: np.ndarray
    ) -> tuple[PopulationTotals, np.ndarray]:
        """Derivatives of the term with respect to the sums, and to the parameters (P,) directly."""
        with jax.enable_x64(True):
            given = self._sums(totals), self._truth, double(params)
            by_sums, direct = jax.tree.map(np.asarray, jax.grad(self._term, (0, 2))(*given))
        weight, bins, own = by_sums
        return PopulationTotals(float(weight), [], bins, () if own is None else own), direct

    def _sums(self, totals: PopulationTotals) -> Any:
        own = totals.extra_sums if self.objective.extra_sums is not None else None
        return double((totals.weight, totals.of_custom, own))

    def pull(self) -> CustomPull:
        """The derivatives of the gradient."""
        with jax.enable_x64(True):

            def column(change: Any, unit: jax.Array) -> jax.Array:
                of = lambda m, p: self._gradient(m, self._truth, p)  # noqa: E731
                return jax.jvp(of, (self._model, self._params), (change, unit))[1]

            arguments = (self._model, self._truth, self._params)
            by_sums = jax.jacrev(self._gradient, (0, 1))(*arguments)
            derivatives = jax.vmap(column)(self._slopes, self._units), *by_sums
            curvature, by_model, by_truth = jax.tree.map(np.asarray, derivatives)
        return CustomPull(
            0.5 * (curvature + curvature.T),
            _sensitivities(*by_model[:2]),
            _sensitivities(*by_truth),
            _flat(by_model[2], len(curvature)),
        )

    def _gradient(self, model: Any, truth: Any, params: jax.Array) -> jax.Array:
        def along(change: Any, unit: jax.Array) -> jax.Array:
            of = lambda m, p: self._term(m, truth, p)  # noqa: E731
            return jax.jvp(of, (model, params), (change, unit))[1]

        return jax.vmap(along)(self._slopes, self._units)

    def _term(self, model: Any, truth: Any, params: jax.Array) -> jax.Array:
        (weight, sums, own), (of_training, known) = model, truth
        assert self.objective.custom is not None
        return self.objective.custom(
            Sums(weight, self._grouped(sums), own),
            Sums(of_training, self._grouped(known)),
            self.objective.model.tree.unflatten(params),
        )

    def _grouped(self, sums: Sequence[BinSums]) -> dict[str, BinSums]:
        stacks = self.objective.stacks
        ends = np.cumsum([len(stack.bins) for stack in stacks])[:-1]
        of_stacks = [list(sums[i:j]) for i, j in zip([0, *ends], [*ends, len(sums)], strict=True)]
        stacked = [jax.tree.map(lambda *a: jnp.stack(a), *of_stack) for of_stack in of_stacks]
        return by_group(stacks, stacked)


def _sensitivities(by_weight: np.ndarray, by_sums: Sequence[BinSums]) -> list[Sensitivity]:
    """Sensitivities of the bins; the first has the derivatives with respect to the total weight."""
    nothing = np.zeros_like(by_weight)
    return [Sensitivity(s, by_weight if i == 0 else nothing) for i, s in enumerate(by_sums)]


def _flat(tree: Any, number: int) -> np.ndarray:
    leaves = [leaf.reshape(number, -1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.zeros((number, 0)), *leaves], axis=1)
