"""Linearizes a loss at any parameters, with programs that compile once."""

from collections.abc import Callable, Sequence

import numpy as np

from kdescent_dist.response.custom_term import CustomPull, CustomTerm
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.linear_response import LinearSums, inverse_curvature, linear_sums
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.loss_weights import DiagonalWeights, FullWeights, LossWeights
from kdescent_dist.response.population_derivatives import (
    FEWEST_ROUNDS,
    PopulationDerivatives,
    PopulationSlopes,
    mean_derivatives,
)
from kdescent_dist.response.population_keys import population_keys
from kdescent_dist.response.population_totals import WholePopulations
from kdescent_dist.response.prior_term import PriorTerm
from kdescent_dist.response.whitening import whitening

NOISE = 0.1  # part of the noise of derivatives in the information on a parameter


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
        number = 1 if loss.fixed_key else self._slopes.most
        self._keys = population_keys(loss.seed, number, fixed_key=loss.fixed_key)

    def at(
        self,
        params: np.ndarray,
        free: np.ndarray | None = None,
        *,
        noise: float = NOISE,
        progress: Callable[[], None] = lambda: None,
    ) -> Linearization:
        """Linearize at parameters (P,).

        The derivatives are means over as many populations as their noise asks for.

        Args:
            params: (P,) parameters.
            free: (P,) whether a parameter can move, because it is not fixed and no bound holds
                it; by default all parameters that are not fixed.
            noise: wanted ``Linearization.noise_of_derivatives`` of each parameter.
            progress: called often, equally often in every process.

        Raises:
            FloatingPointError: a derivative is not finite.
        """
        loss = self.loss
        params = np.asarray(params, loss.parameters.guess.dtype)
        free = ~loss.parameters.fixed if free is None else free
        drawn: list[PopulationDerivatives] = []
        wanted, full = FEWEST_ROUNDS, None
        while True:
            for key in self._keys[len(drawn) : wanted]:
                drawn.append(self._slopes.sums(params, key, progress))
            at = self._of(params, drawn, free, progress, full)
            more = at.wanted_rounds(noise, len(self._keys))
            wanted = loss.objective.processes.on_primary(lambda more=more: more)
            if wanted <= len(drawn):
                return at
            full = at.weights if isinstance(at.weights, FullWeights) else None

    def _of(
        self,
        params: np.ndarray,
        drawn: Sequence[PopulationDerivatives],
        free: np.ndarray,
        progress: Callable[[], None],
        full: FullWeights | None = None,
    ) -> Linearization:
        """The mean over populations; ``full`` are weights of ``gls`` that are known."""
        loss, objective = self.loss, self.loss.objective
        found = mean_derivatives(drawn)
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

        def linearization() -> Linearization:
            of = loss, self.whole, params, found, linear, weights, squares, custom, pull
            return _linearization(*of, drawn, free)

        if objective.config.kind == "gls":
            weights = full or whitening(linearization(), progress)
            before, squares = squares, max(float(weights.factor.shape[1]), 1.0)
            if pull is not None:
                pull = pull.times(squares / before)
        return linearization()


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
    drawn: Sequence[PopulationDerivatives],
    free: np.ndarray,
) -> Linearization:
    slopes = np.concatenate([one.slopes for one in linear], axis=1)
    prior = None if loss.objective.prior is None else PriorTerm(loss.objective.prior)
    of_prior = np.zeros(len(params)) if prior is None else prior.curvature(params)

    def curvature_of(slopes: np.ndarray) -> np.ndarray:
        curvature = weights.times(slopes) @ slopes.T
        if pull is not None:
            curvature = curvature + pull.curvature
        return curvature + np.diag(of_prior)

    def slopes_of(some: Sequence[PopulationDerivatives]) -> np.ndarray:
        own = mean_derivatives(some)
        of_bins = zip(linear, own.bins[: len(linear)], strict=True)
        moved = [of.model.slopes(found.slopes, own.weight[1]) for of, found in of_bins]
        return np.concatenate(moved, axis=1)

    curvature = curvature_of(slopes)
    if not np.isfinite(curvature).all():
        raise FloatingPointError("a derivative of the model's sums is not finite")
    inverse, determined = inverse_curvature(curvature, free)
    halves = np.zeros((0, *curvature.shape))
    if half := len(drawn) // 2:
        around = [*drawn, *drawn]
        parts = (around[i : i + half] for i in range(len(drawn)))
        halves = np.array([curvature_of(slopes_of(part)) for part in parts])
    return Linearization(
        *(loss, whole, params, found, linear, weights, squares, custom, pull),
        *(curvature, len(drawn), halves, inverse, determined, prior, of_prior),
    )
