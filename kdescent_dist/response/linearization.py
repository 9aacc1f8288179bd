"""The loss of a fit at fixed points, linearized in the parameters.

Errors of the parameters, the distance to the minimum of the loss and Newton steps all follow from
the linearized loss, so all are of the same loss.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np

from kdescent_dist.response.compared import BinComparison
from kdescent_dist.response.custom_term import CustomPull, CustomTerm
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.linear_response import (
    LinearSums,
    curvature_of,
    inverse_curvature,
    linear_sums,
)
from kdescent_dist.response.population_derivatives import (
    ROUNDS,
    PopulationDerivatives,
    PopulationSlopes,
)
from kdescent_dist.response.population_keys import population_keys
from kdescent_dist.response.population_totals import PopulationTotals, WholePopulations


@dataclass(frozen=True)
class Linearization:
    """The compared numbers of all bins at fixed points, linearized in P parameters.

    The loss is here the sum of weighted squares of the residuals, plus ``squares`` times
    ``loss.custom``. The weights are constants.

    Attributes:
        loss: the loss.
        whole: the sums over populations at the points of the loss.
        params: (P,) the parameters.
        found: sums of the model and their derivatives, means over several populations.
        linear: the linearized numbers of each bin at the points of ``loss.compared``.
        squares: expected number of squares in the mean of a step, at least 1.
        custom: ``loss.custom``, None without.
        pull: derivatives of half of ``squares`` times the gradient of ``loss.custom``, None
            without.
        curvature: (P, P) half the second derivatives of the loss.
        inverse: (P, P) the inverse of ``curvature``, for the parameters that can move.
        determined: (P,) whether a parameter can move and is determined by the loss.
    """

    loss: FixedLoss
    whole: WholePopulations
    params: np.ndarray
    found: PopulationDerivatives
    linear: list[LinearSums]
    squares: float
    custom: CustomTerm | None
    pull: CustomPull | None
    curvature: np.ndarray
    inverse: np.ndarray
    determined: np.ndarray

    def with_free(self, free: np.ndarray) -> "Linearization":
        """The same, with other parameters (P,) that can move."""
        inverse, determined = inverse_curvature(self.curvature, free)
        return replace(self, inverse=inverse, determined=determined)

    def rough_errors(self) -> np.ndarray:
        """Errors (P,) of the parameters, with independent errors of the compared numbers.

        The noise of the input catalog is left out. A parameter that is not determined has an
        infinite error.
        """
        scatter = np.zeros_like(self.curvature)
        for one in self.linear:
            response = one.slopes * one.weights * one.errors
            scatter += response @ response.T
        variance = np.diagonal(self.inverse @ scatter @ self.inverse)
        return np.where(self.determined, np.sqrt(np.maximum(variance, 0.0)), np.inf)

    def cotangent(
        self, mean: PopulationTotals, params: np.ndarray
    ) -> tuple[PopulationTotals, np.ndarray]:
        """Half the derivatives of the loss with respect to the sums, and to the parameters (P,).

        The derivatives are at the sums ``mean`` and at parameters (P,) in the neighborhood. The
        derivatives with respect to the parameters are those of ``loss.custom`` at constant sums.
        """
        weight, bins = 0.0, []
        volume = self.loss.objective.config.volume
        for one, sums, apart in zip(
            self.linear, mean.compared, self.residuals([mean]), strict=True
        ):
            model = BinComparison(one.model.kind, sums, mean.weight, volume)
            of_bin = jax.tree.map(lambda a: a[0], model.sensitivity(one.weights * apart))
            bins.append(of_bin.sums)
            weight += float(of_bin.weight)
        extra_sums = jax.tree.map(np.zeros_like, mean.extra_sums)
        if self.custom is None:
            return PopulationTotals(weight, bins, [], extra_sums), np.zeros(len(self.params))
        half = 0.5 * self.squares
        own, direct = self.custom.gradients(mean, params)
        of_custom, extra_sums = jax.tree.map(lambda a: half * a, (own.of_custom, own.extra_sums))
        weight += half * own.weight
        return PopulationTotals(weight, bins, of_custom, extra_sums), half * direct

    def changes(
        self, populations: Sequence[PopulationTotals], mean: PopulationTotals
    ) -> np.ndarray:
        """Changes (n, P) of half the gradient for the sums of n populations in place of the mean.

        The changes are of first order, and the derivatives of the sums stay as they are.
        """
        changes = np.zeros((len(populations), len(self.params)))
        parts = self.residuals([*populations, mean])
        for one, apart in zip(self.linear, parts, strict=True):
            changes += (apart[:-1] - apart[-1]) @ (one.slopes * one.weights).T
        if self.pull is not None:
            for row, sums in zip(changes, populations, strict=True):
                row += self.pull.change(sums) - self.pull.change(mean)
        return changes

    def value(self, sums: PopulationTotals, params: np.ndarray) -> float:
        """The loss of sums at parameters (P,) in the neighborhood."""
        parts = zip(self.linear, self.residuals([sums]), strict=True)
        value = float(sum(one.weights @ apart[0] ** 2 for one, apart in parts))
        if self.custom is not None:
            value += self.squares * self.custom.value(sums, params)
        return value

    def residuals(self, populations: Sequence[PopulationTotals]) -> Iterator[np.ndarray]:
        """The residuals (n, R) of each bin, model minus training catalog."""
        weights = np.array([sums.weight for sums in populations])
        for i, one in enumerate(self.linear):
            of_bin = (sums.compared[i] for sums in populations)
            stacked = jax.tree.map(lambda *a: np.stack(a), *of_bin)
            yield one.model.vectors(stacked, weights) - one.training.vector()


class Linearizer:
    """Linearizes a loss at any parameters; the programs compile once.

    Attributes:
        loss: the loss.
        whole: the sums over populations at the points of the loss.
    """

    def __init__(self, loss: FixedLoss) -> None:
        self.loss = loss
        self.whole = WholePopulations(loss)
        self._slopes = PopulationSlopes(loss)
        number = 1 if loss.fixed_key else ROUNDS
        self._keys = population_keys(loss.seed, number, fixed_key=loss.fixed_key)

    def at(
        self,
        params: np.ndarray,
        free: np.ndarray | None = None,
        *,
        rounds: int = ROUNDS,
        progress: Callable[[], None] = lambda: None,
    ) -> Linearization:
        """Linearize at parameters (P,).

        Args:
            params: (P,) parameters.
            free: (P,) whether a parameter can move, because it is not fixed and no bound holds
                it; by default all parameters that are not fixed.
            rounds: most populations of which the derivatives are the mean.
            progress: called often, equally often in every process.

        Raises:
            FloatingPointError: a derivative is not finite.
        """
        loss, objective = self.loss, self.loss.objective
        params = np.asarray(params, loss.parameters.guess.dtype)
        free = ~loss.parameters.fixed if free is None else free
        found = self._slopes.sums(params, self._keys[:rounds], progress)
        number = len(loss.compared)
        linear = [
            linear_sums(objective.config, counted, of_bin, found.weight, objective.training_weight)
            for counted, of_bin in zip(loss.compared, found.bins[:number], strict=True)
        ]
        squares = max(sum(one.count for one in linear), 1.0)
        custom = pull = None
        if objective.custom is not None:
            of_step = loss.of_custom, found.bins[number:]
            custom = CustomTerm(objective, params, *of_step, found.weight, found.extra_sums)
            # J^T C (m - d) is the gradient of the mean over N squares, times N / 2.
            pull = custom.pull().times(0.5 * squares)
        curvature = curvature_of(linear, pull.curvature if pull else None)
        inverse, determined = inverse_curvature(curvature, free)
        return Linearization(
            *(loss, self.whole, params, found, linear, squares, custom, pull),
            *(curvature, inverse, determined),
        )
