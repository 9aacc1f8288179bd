"""Linearizes a loss at any parameters, with programs that compile once."""

from collections.abc import Callable

import numpy as np

from kdescent_dist.response.custom_term import CustomPull, CustomTerm
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.linear_response import LinearSums, inverse_curvature, linear_sums
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.loss_weights import DiagonalWeights, LossWeights
from kdescent_dist.response.population_derivatives import (
    ROUNDS,
    PopulationDerivatives,
    PopulationSlopes,
)
from kdescent_dist.response.population_keys import population_keys
from kdescent_dist.response.population_totals import WholePopulations
from kdescent_dist.response.prior_term import PriorTerm
from kdescent_dist.response.whitening import whitening


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
        weights: LossWeights = DiagonalWeights(np.concatenate([one.weights for one in linear]))
        at = _linearization(
            *(loss, self.whole, params, found, linear, weights, squares, custom, pull, free)
        )
        if objective.config.kind != "gls":
            return at
        weights = whitening(at, progress)
        squares = max(float(weights.factor.shape[1]), 1.0)
        if pull is not None:
            pull = pull.times(squares / at.squares)
        return _linearization(
            *(loss, self.whole, params, found, linear, weights, squares, custom, pull, free)
        )


def _linearization(
    loss: FixedLoss,
    whole: WholePopulations,
    params: np.ndarray,
    found: PopulationDerivatives,
    linear: list[LinearSums],
    weights: LossWeights,
    squares: float,
    custom: CustomTerm | None,
    pull: CustomPull | None,
    free: np.ndarray,
) -> Linearization:
    slopes = np.concatenate([one.slopes for one in linear], axis=1)
    curvature = weights.times(slopes) @ slopes.T
    if pull is not None:
        curvature = curvature + pull.curvature
    prior = None if loss.objective.prior is None else PriorTerm(loss.objective.prior)
    of_prior = np.zeros(len(params)) if prior is None else prior.curvature(params)
    curvature = curvature + np.diag(of_prior)
    if not np.isfinite(curvature).all():
        raise FloatingPointError("a derivative of the model's sums is not finite")
    inverse, determined = inverse_curvature(curvature, free)
    return Linearization(
        *(loss, whole, params, found, linear, weights, squares, custom, pull),
        *(curvature, inverse, determined, prior, of_prior),
    )
