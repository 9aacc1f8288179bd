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
from kdescent_dist.bins.pretrained import PretrainedBin
from kdescent_dist.bins.sums import draw_rows
from kdescent_dist.diagnostics.compared import double
from kdescent_dist.diagnostics.influence import Sensitivity, SumDerivatives
from kdescent_dist.diagnostics.points import EvaluationPoints
from kdescent_dist.numerics.prng import as_key, draw_key
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.objective.terms import Sums, by_group


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

    def times(self, factor: float) -> "CustomPull":
        """The derivatives for a term that is multiplied by a factor."""
        values = (self.curvature, self.model, self.training, self.extra_sums)
        return CustomPull(*jax.tree.map(lambda a: factor * a, values))


def points_of_a_step(
    objective: PopulationObjective, bins: Sequence[PretrainedBin], seed: int
) -> list[EvaluationPoints]:
    """The bins in the order of the stacks, at the points that one step draws.

    Args:
        objective: the objective.
        bins: the bins of the objective.
        seed: seed of the draw.
    """
    by_name = {pretrained.bin.name: pretrained for pretrained in bins}
    arrays = objective.data["shared"]["stacks"]
    drawn = draw_rows(objective.stacks, arrays, draw_key(as_key(seed)))
    return [
        EvaluationPoints.at(by_name[bin_.name], {n: np.asarray(r[i]) for n, r in rows.items()})
        for stack, rows in zip(objective.stacks, drawn, strict=True)
        for i, bin_ in enumerate(stack.bins)
    ]


def custom_pull(
    objective: PopulationObjective,
    params: np.ndarray,
    sets: Sequence[EvaluationPoints],
    found: Sequence[SumDerivatives],
    weight: tuple[np.ndarray, np.ndarray],
    extra_sums: tuple[Any, Any],
) -> CustomPull:
    """Differentiate the gradient of ``loss.custom``.

    Args:
        objective: the objective, which has a ``loss.custom``.
        params: (P,) parameters.
        sets: the result of ``points_of_a_step``.
        found: the sums of the model at the points of ``sets``.
        weight: sum of all weights of the model, and its derivatives (P,).
        extra_sums: sums of ``loss.extra_sums``, and their derivatives (P, ...); empty without.
    """
    stacks, tree, custom = objective.stacks, objective.model.tree, objective.custom
    assert custom is not None

    def grouped(sums: Sequence[BinSums]) -> dict[str, BinSums]:
        ends = np.cumsum([len(stack.bins) for stack in stacks])[:-1]
        of_stacks = [list(sums[i:j]) for i, j in zip([0, *ends], [*ends, len(sums)], strict=True)]
        stacked = [jax.tree.map(lambda *a: jnp.stack(a), *of_stack) for of_stack in of_stacks]
        return by_group(stacks, stacked)

    def term(model: Any, truth: Any, params: jax.Array) -> jax.Array:
        (weight, sums, own), (of_training, known) = model, truth
        return custom(
            Sums(weight, grouped(sums), own),
            Sums(of_training, grouped(known)),
            tree.unflatten(params),
        )

    own, own_slopes = extra_sums if objective.extra_sums is not None else (None, None)
    with jax.enable_x64(True):
        model = double((weight[0], [one.sums for one in found], own))
        slopes = double((weight[1], [one.slopes for one in found], own_slopes))
        truth = double((objective.training_weight, [counted.truth for counted in sets]))
        at, units = double(params), jnp.eye(len(params), dtype=float)

        def gradient(model: Any, truth: Any, params: jax.Array) -> jax.Array:
            def along(change: Any, unit: jax.Array) -> jax.Array:
                of = lambda m, p: term(m, truth, p)  # noqa: E731
                return jax.jvp(of, (model, params), (change, unit))[1]

            return jax.vmap(along)(slopes, units)

        def column(change: Any, unit: jax.Array) -> jax.Array:
            of = lambda m, p: gradient(m, truth, p)  # noqa: E731
            return jax.jvp(of, (model, at), (change, unit))[1]

        by_sums = jax.jacrev(gradient, (0, 1))(model, truth, at)
        derivatives = jax.vmap(column)(slopes, units), *by_sums
        curvature, by_model, by_truth = jax.tree.map(np.asarray, derivatives)
    return CustomPull(
        0.5 * (curvature + curvature.T),
        _sensitivities(*by_model[:2]),
        _sensitivities(*by_truth),
        _flat(by_model[2], len(params)),
    )


def _sensitivities(by_weight: np.ndarray, by_sums: Sequence[BinSums]) -> list[Sensitivity]:
    """Sensitivities of the bins; the first has the derivatives with respect to the total weight."""
    nothing = np.zeros_like(by_weight)
    return [Sensitivity(s, by_weight if i == 0 else nothing) for i, s in enumerate(by_sums)]


def _flat(tree: Any, number: int) -> np.ndarray:
    leaves = [leaf.reshape(number, -1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.zeros((number, 0)), *leaves], axis=1)
