"""The loss of a fit at fixed points, linearized in the parameters.

Errors of the parameters, the distance to the minimum of the loss and Newton steps all follow from
the linearized loss, so all are of the same loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import numpy as np

from kdescent_dist.response.compared import BinComparison
from kdescent_dist.response.custom_term import CustomPull, CustomTerm
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.linear_response import LinearSums, eigenvalues, inverse_curvature
from kdescent_dist.response.loss_weights import DiagonalWeights, LossWeights
from kdescent_dist.response.population_derivatives import PopulationDerivatives
from kdescent_dist.response.population_totals import PopulationTotals, WholePopulations
from kdescent_dist.response.prior_term import PriorTerm

MOST_NOISE = 0.8  # see ``Linearization.without_noise``
FURTHER = 4  # times as many populations, at most, before their noise is looked at again


@dataclass(frozen=True)
class Linearization:
    """The R compared numbers of all bins at fixed points, linearized in P parameters.

    The loss is here a quadratic form of the residuals, plus ``squares`` times ``loss.custom``, plus
    -2 log of the prior. The weights of the quadratic form are constants.

    Attributes:
        loss: the loss.
        whole: the sums over populations at the points of the loss.
        params: (P,) the parameters.
        found: sums of the model and their derivatives, means over several populations.
        linear: the linearized numbers of each bin at the points of ``loss.compared``.
        weights: the weights of the quadratic form.
        squares: expected number of squares in the mean of a step, at least 1.
        custom: ``loss.custom``, None without.
        pull: derivatives of half of ``squares`` times the gradient of ``loss.custom``, None
            without.
        curvature: (P, P) half the second derivatives of the loss.
        rounds: number of populations of which the derivatives of the sums are the mean.
        halves: (n, P, P) ``curvature`` with the derivatives of half of these populations, for
            several halves; none with a single population.
        inverse: (P, P) the inverse of ``curvature``, for the parameters that can move.
        determined: (P,) whether a parameter can move and is determined by the loss.
        prior: the prior of the parameters, None without.
        of_prior: (P,) the part of the prior in the diagonal of ``curvature``.
    """

    loss: FixedLoss
    whole: WholePopulations
    params: np.ndarray
    found: PopulationDerivatives
    linear: list[LinearSums]
    weights: LossWeights
    squares: float
    custom: CustomTerm | None
    pull: CustomPull | None
    curvature: np.ndarray
    rounds: int
    halves: np.ndarray
    inverse: np.ndarray
    determined: np.ndarray
    prior: PriorTerm | None
    of_prior: np.ndarray

    @cached_property
    def slopes(self) -> np.ndarray:
        """Derivatives (P, R) of the numbers of the model."""
        return np.concatenate([one.slopes for one in self.linear], axis=1)

    @cached_property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Axes of the curvature of the determined parameters, see ``eigenvalues``."""
        moving = np.flatnonzero(self.determined)
        return eigenvalues(self.curvature[np.ix_(moving, moving)])

    @cached_property
    def firsts(self) -> list[int]:
        """For each bin, the position of its first number among all numbers."""
        return np.cumsum([0, *(one.slopes.shape[1] for one in self.linear)])[:-1].tolist()

    def split(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Cut (n, R) along the second axis into the numbers of each bin."""
        return np.split(numbers, self.firsts[1:], axis=1)

    def with_free(self, free: np.ndarray) -> "Linearization":
        """The same, with other parameters (P,) that can move."""
        inverse, determined = inverse_curvature(self.curvature, free)
        return replace(self, inverse=inverse, determined=determined)

    @cached_property
    def noise_of_derivatives(self) -> np.ndarray:
        """(P,) part of the noise of the derivatives in the information on each parameter.

        Let the information be h + n / R, with derivatives that are means over R populations. The
        variance of the parameter, its inverse, is g times as large as with half of the populations.
        So the part of n / R is g - 1 if R is even. It is 0 for parameters that are not determined.
        """
        part = np.zeros(len(self.params))
        if not len(self.halves):
            return part
        free = self.determined
        of_halves = [np.diagonal(inverse_curvature(half, free)[0]) for half in self.halves]
        before = np.mean(of_halves, axis=0)
        known = free & (before > 0)
        larger = np.diagonal(self.inverse)[known] / before[known] - 1
        part[known] = np.clip(larger / (self.rounds / (self.rounds // 2) - 1), 0.0, 1.0)
        return part

    @cached_property
    def without_noise(self) -> np.ndarray:
        """(P,) variances over those of ``inverse``, if derivatives had no noise: 1 or more.

        It is 1 / (1 - part), see ``noise_of_derivatives``; a part above ``MOST_NOISE`` is not
        known well.
        """
        return 1 / (1 - np.minimum(self.noise_of_derivatives, MOST_NOISE))

    def wanted_rounds(self, noise: float, most: int) -> int:
        """The number of populations to draw for a noise of the derivatives.

        Args:
            noise: wanted ``noise_of_derivatives`` of each parameter.
            most: most populations.

        Returns:
            The number, ``self.rounds`` if these suffice.
        """
        part = float(np.max(self.noise_of_derivatives, initial=0.0))
        if part <= noise:
            return self.rounds
        # A large part is not known well.
        of_one = self.rounds * part / max(1 - part, 1 / FURTHER)
        return min(math.ceil(of_one / noise), FURTHER * self.rounds, most)

    def response(self) -> np.ndarray:
        """Moves (P, R) of the minimum with the numbers of the training catalog."""
        return self.inverse @ self.weights.times(self.slopes)

    def rough_errors(self) -> np.ndarray:
        """Errors (P,) of the parameters from the noise of the training catalog alone.

        With weights of single numbers, the errors of the numbers are taken as independent. A
        parameter that is not determined has an infinite error. The prior has its own width, and
        ``loss.custom`` counts as a prior.
        """
        variance = np.diagonal(self.inverse)
        if isinstance(self.weights, DiagonalWeights):
            errors = np.concatenate([one.errors for one in self.linear])
            of_noise = np.sum((self.response() * errors) ** 2, axis=1)
            own = np.diag(self.of_prior)
            if self.pull is not None:  # as if the term were -2 log of a density
                own = own + self.pull.curvature
            own = self.inverse @ own @ self.inverse
            of_noise = of_noise + np.maximum(np.diagonal(own), 0.0)
            variance = np.where(of_noise > 0, of_noise, variance)
        variance = np.maximum(variance, 0.0) * self.without_noise
        return np.where(self.determined, np.sqrt(variance), np.inf)

    def cotangent(
        self, mean: PopulationTotals, params: np.ndarray
    ) -> tuple[PopulationTotals, np.ndarray]:
        """Half the derivatives of the loss with respect to the sums, and to the parameters (P,).

        The derivatives are at the sums ``mean`` and at parameters (P,) in the neighborhood. The
        derivatives with respect to the parameters are those of ``loss.custom`` at constant sums,
        and of the prior.
        """
        direct = np.zeros(len(self.params))
        if self.prior is not None:
            direct = direct + self.prior.half_gradient(params)
        weight, bins = 0.0, []
        volume = self.loss.objective.config.volume
        weighted = self.split(self.weights.times(self.residuals([mean])))
        for one, sums, of_bin in zip(self.linear, mean.compared, weighted, strict=True):
            model = BinComparison(one.model.kind, sums, mean.weight, volume)
            pulled = jax.tree.map(lambda a: a[0], model.sensitivity(of_bin))
            bins.append(pulled.sums)
            weight += float(pulled.weight)
        extra_sums = jax.tree.map(np.zeros_like, mean.extra_sums)
        if self.custom is None:
            return PopulationTotals(weight, bins, [], extra_sums), direct
        half = 0.5 * self.squares
        own, by_params = self.custom.gradients(mean, params)
        of_custom, extra_sums = jax.tree.map(lambda a: half * a, (own.of_custom, own.extra_sums))
        weight += half * own.weight
        return PopulationTotals(weight, bins, of_custom, extra_sums), direct + half * by_params

    def changes(
        self, populations: Sequence[PopulationTotals], mean: PopulationTotals
    ) -> np.ndarray:
        """Changes (n, P) of half the gradient for the sums of n populations in place of the mean.

        The changes are of first order, and the derivatives of the sums stay as they are.
        """
        apart = self.residuals([*populations, mean])
        changes = self.weights.times(apart[:-1] - apart[-1]) @ self.slopes.T
        if self.pull is not None:
            changes = changes + [self.pull.change(sums) for sums in populations]
            changes = changes - self.pull.change(mean)
        return changes

    def value(self, sums: PopulationTotals, params: np.ndarray) -> float:
        """The loss of sums at parameters (P,) in the neighborhood."""
        value = float(self.weights.values(self.residuals([sums]))[0])
        if self.custom is not None:
            value += self.squares * self.custom.value(sums, params)
        if self.prior is not None:
            value += self.prior.value(params)
        return value

    def residuals(self, populations: Sequence[PopulationTotals]) -> np.ndarray:
        """The residuals (n, R), model minus training catalog, of n populations."""
        weights = np.array([sums.weight for sums in populations])
        parts = []
        for i, one in enumerate(self.linear):
            of_bin = (sums.compared[i] for sums in populations)
            stacked = jax.tree.map(lambda *a: np.stack(a), *of_bin)
            parts.append(one.model.vectors(stacked, weights) - one.training.vector())
        return np.concatenate(parts, axis=1)
