"""The distance of parameters from the minimum of a loss.

Let m and d be the compared numbers of the model and of the training catalog at fixed points, J the
derivatives of m with respect to the parameters, and C the weights of the squared residuals. The
minimum of the loss is expected at a displacement of -(J^T C J)^-1 J^T C (m - d) from the parameters
(Gauss-Newton). m is a mean over populations with independent random numbers. The gradient
J^T C (m - d) is in reverse mode, and its J is a mean over some of the same populations. The scatter
between the populations gives the noise of the displacement.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import numpy as np

from kdescent_dist.config.errors import listed
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.population_keys import population_keys
from kdescent_dist.response.population_totals import (
    PopulationTotals,
    WholePopulations,
    mean_totals,
)

T = TypeVar("T")

FEWEST, MOST = 4, 512  # populations
FEWEST_OF_MOST, PAIRS = 100, 10_000_000_000  # see ``affordable_populations``
NOISE = 0.1  # largest noise of the displacement that is wanted, in errors of the parameters
GROWTH = 4  # most populations over those before: far from the minimum, few may be enough
# Populations for a parameter that is far, or if all would leave ``HOPELESS`` times the noise.
FEW, HOPELESS = 64, 2.0
OF_SUMS, OF_SLOPES = 0.8, 0.6  # parts of the noise: from m and from J in the gradient
SHOWN = 5  # parameters in a message or note
NEAR = 1.0  # errors from the minimum, beyond which a tenth of the distance is enough for its noise
CONVERGED = 0.3  # |distance| + 2 noise of a parameter at its minimum, in its errors


def affordable_populations(loss: FixedLoss) -> int:
    """The populations of a loss that take ``PAIRS`` pairs of a sample and a point; at least 100."""
    return max(PAIRS // loss.pairs, FEWEST_OF_MOST)


class Populations:
    """The sums over populations of a sequence of random keys, at the same parameters.

    The keys follow from the seed, and are the same at all parameters. They differ from the keys of
    the derivatives, whose noise is then independent. If all steps of the fit have one key, it is
    the only key. There are 512 keys, or 100 or more if populations take many pairs of a sample and
    a point.

    Args:
        whole: the sums over populations.
        params: (P,) parameters.
        number: number of populations to draw at once.
        progress: called after each population.
    """

    def __init__(
        self,
        whole: WholePopulations,
        params: np.ndarray,
        number: int = 0,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        loss = whole.loss
        self.params = np.asarray(params, loss.parameters.guess.dtype)
        self._whole, self._progress = whole, progress
        if loss.fixed_key:
            self._keys = population_keys(loss.seed, 1, fixed_key=True)
        else:
            most = min(affordable_populations(loss), MOST)
            self._keys = population_keys(loss.seed, most, stream=1)
        self.sums: list[PopulationTotals] = []
        self._pulled: tuple[bytes, list[np.ndarray]] = b"", []
        self.extend(number)

    def gradients(self, number: int, cotangent: PopulationTotals) -> np.ndarray:
        """Gradients (number, P) of a linear function of the totals of the first populations.

        The gradients of the last function are kept.
        """
        fields = cotangent.weight, cotangent.compared, cotangent.of_custom, cotangent.extra_sums
        of = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fields))
        if self._pulled[0] != of:
            self._pulled = of, []
        found = self._pulled[1]
        for key in self._keys[len(found) : number]:
            found.append(self._whole.gradient(self.params, key, cotangent))
            self._progress()
        return np.array(found[:number])

    def extend(self, number: int) -> None:
        """Draw populations until there are at least ``number``, or as many as there are keys."""
        for key in self._keys[len(self.sums) : number]:
            self.sums.append(self._whole.totals(self.params, key))
            self._progress()

    def agreed(self, value: T) -> T:
        """The value of the primary process, so that all processes decide alike."""
        return self._whole.loss.objective.processes.on_primary(lambda: value)

    @property
    def most(self) -> int:
        """Number of keys."""
        return len(self._keys)


@dataclass(frozen=True)
class Distance:
    """The displacement from parameters to the minimum of the loss.

    Attributes:
        displacement: (P,) expected change of the parameters.
        covariance: (P, P) covariance of ``displacement`` from the random numbers of the model, 0
            if all steps of the fit have one key.
        gradient: (P,) half the gradient of the loss.
        populations: numbers of populations, of which m is the mean, and of which J is the mean in
            the gradient.
    """

    displacement: np.ndarray
    covariance: np.ndarray
    gradient: np.ndarray
    populations: tuple[int, int]

    @property
    def noise(self) -> np.ndarray:
        """(P,) standard deviation of ``displacement`` from the random numbers of the model."""
        return np.sqrt(np.diagonal(self.covariance))

    def in_errors(self, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Displacement and noise in units of ``errors`` (P,), NaN where there is no error."""
        known = np.isfinite(errors) & (errors > 0)
        unit = np.where(known, errors, np.nan)
        return self.displacement / unit, self.noise / unit


def is_converged(displacement: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Whether parameters are at their minimum, from displacement and noise in their errors."""
    return np.abs(displacement) + 2 * noise < CONVERGED


def far_from_minimum(names: Sequence[str], displacement: np.ndarray, noise: np.ndarray) -> str:
    """Tell which parameters are not at their minimum; empty if all are.

    Args:
        names: P names of parameters.
        displacement, noise: (P,) in errors of the parameters, NaN where there is no error.
    """
    known = np.isfinite(displacement)
    far = np.flatnonzero(known & ~is_converged(displacement, noise))
    worst = sorted(far, key=lambda i: -abs(displacement[i]))
    told = [f"{names[int(i)]} by {displacement[i]:+.2g} +- {noise[i]:.1g}" for i in worst]
    if not told:
        return ""
    return f"expected moves to the minimum of the loss, in errors: {listed(told, SHOWN)}"


def distance_to_minimum(
    at: Linearization,
    errors: np.ndarray,
    populations: Populations | None = None,
    *,
    share: float = 0.0,
) -> Distance:
    """Estimate the displacement from parameters to the minimum of the loss.

    As many populations are drawn as the noise asks for: it is to be below a tenth of the errors,
    and low enough to tell whether the parameters have converged. Where one is more than an error
    away, a tenth of its distance is enough. At most 64 populations are drawn where a parameter is
    surely more than an error away, or where all would leave more than twice the noise.

    Args:
        at: the loss, linearized at the parameters or near them.
        errors: (P,) errors of the parameters.
        populations: populations at the parameters, by default at those of ``at``.
        share: noise that is accepted, as a fraction of the displacement, both in errors and root
            mean squares over the parameters (as in the norm test of Byrd et al. 2012).
    """
    populations = populations or Populations(at.whole, at.params)
    known = at.determined & np.isfinite(errors) & (errors > 0)
    unit = np.where(known, errors, np.inf)
    number, pulled = min(FEWEST, populations.most), min(FEWEST, populations.most)
    while True:
        populations.extend(number)
        sums = populations.sums
        mean = mean_totals(sums)
        cotangent, direct = at.cotangent(mean, populations.params)
        gradients = populations.gradients(pulled, cotangent) + direct
        gradient = np.mean(gradients, axis=0)
        of_sums = _of_mean(at.changes(sums, mean) @ at.inverse)
        of_slopes = _of_mean(gradients @ at.inverse)
        larger = at.without_noise
        covariance = (of_sums + of_slopes) * np.outer(larger, larger)
        if not (np.isfinite(gradient).all() and np.isfinite(covariance).all()):
            raise FloatingPointError("a sum of the model, or its derivative, is not finite")
        displacement = -larger * (at.inverse @ gradient)
        found = Distance(displacement, covariance, gradient, (len(sums), pulled))
        away = np.abs(displacement / unit)
        in_errors = (np.diagonal(one) / (unit / larger) ** 2 for one in (of_sums, of_slopes))
        wanted = _wanted(away, *in_errors, found.populations, populations.most, share)
        number, more = populations.agreed(wanted)
        if (number, more) == found.populations:
            return found
        pulled = more


def _of_mean(moves: np.ndarray) -> np.ndarray:
    """The covariance (P, P) of the mean of n rows; 0 of a single row."""
    if len(moves) < 2:
        return np.zeros((moves.shape[1],) * 2)
    apart = moves - np.mean(moves, axis=0)
    return apart.T @ apart / (len(moves) * (len(moves) - 1))


def _wanted(
    away: np.ndarray,
    of_sums: np.ndarray,
    of_slopes: np.ndarray,
    drawn: tuple[int, int],
    most: int,
    share: float,
) -> tuple[int, int]:
    """Numbers of populations to go on with, as ``Distance.populations``.

    Args:
        away: (P,) lengths of the displacement, in errors; 0 without an error.
        of_sums, of_slopes: (P,) variances of the displacement from m and from J, in the same units.
        drawn: numbers of populations that were drawn.
        most: most populations.
        share: see ``distance_to_minimum``.
    """
    noise = np.sqrt(of_sums + of_slopes)
    far = np.max(away - 2 * noise, initial=0.0)
    target, within = NOISE * max(far / NEAR, 1.0), 0.0
    if share:  # the noise lengthens the displacement
        within = share**2 * max(float(np.sum(away**2 - noise**2)), 0.0)
    elif far < CONVERGED and not is_converged(away, noise).all():
        target = min(target, np.max(noise) / math.sqrt(2))

    def excess(variances: np.ndarray) -> float:
        """The square of a noise over the accepted one: of each parameter, or of the length."""
        of_each = float(np.max(variances, initial=0.0)) / target**2
        return min(of_each, float(np.sum(variances)) / within) if within else of_each

    growth = GROWTH if share or np.max(away, initial=0.0) > NEAR else np.inf
    number, pulled = drawn
    more = math.ceil(pulled * min(excess(of_slopes) / OF_SLOPES**2, growth))
    of_target = math.ceil(number * min(excess(of_sums) / OF_SUMS**2, growth))
    wanted = max(number, of_target, more)
    hopeless = excess(of_sums + of_slopes) * pulled / most > HOPELESS**2
    if hopeless or (far > NEAR and not share):
        wanted = min(wanted, max(FEW, number))
    wanted = min(wanted, most)
    return wanted, min(max(pulled, more), wanted)
