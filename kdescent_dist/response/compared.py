"""The compared numbers of a bin in double precision, and derivatives with respect to the sums."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.bin_sums import BinSquares, BinSums
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.objective.residuals import (
    Compared,
    errors_of_difference,
    expected_errors,
    model_errors,
    norms,
)
from kdescent_dist.response.influence import Sensitivity


@dataclass(frozen=True)
class BinComparison:
    """The map from the sums over samples in a bin to the R compared numbers.

    Attributes:
        kind: normalization of the counts: conditional, density or counts.
        sums: the sums, with counts (k, parts).
        weight: sum of the weights of all samples.
        volume: ``loss.volume``.
    """

    kind: str
    sums: BinSums
    weight: float
    volume: float = 1.0

    def values(self) -> Compared:
        """The compared numbers, with counts (k, parts)."""
        factor = self._factor(self.sums.weight, self.weight)
        counts = {n: np.asarray(c, float) * factor for n, c in self.sums.counts.items()}
        return Compared(counts, np.asarray(self.sums.weight, float) / self.volume)

    def vectors(self, sums: BinSums, weights: np.ndarray) -> np.ndarray:
        """The numbers (n, R), see ``as_vector``, of the sums in the bin over n populations.

        Args:
            sums: the sums of each population, stacked.
            weights: (n,) sums of the weights of all samples.
        """
        factors = self._factor(sums.weight, weights)[:, None]
        return self._joined(sums, lambda counts: counts * factors)

    def vector(self) -> np.ndarray:
        """The numbers (R,), see ``as_vector``."""
        return as_vector(self.values())

    def errors(self, squares: BinSquares) -> Compared:
        """Errors of the compared numbers from sums of squares over the same samples."""
        with jax.enable_x64(True):
            sums, of_sums = (
                jax.tree.map(lambda a: a[None], double(t)) for t in (self.sums, squares)
            )
            factors = norms((self.kind,), sums.weight, self.weight)
            errors = model_errors(sums, of_sums, factors, self.volume)
            return jax.tree.map(lambda a: np.asarray(a[0]), errors)

    def expected_errors(
        self, training: Compared, squares: BinSquares, unit_variances: Mapping[str, float]
    ) -> Compared:
        """Errors of the numbers of a catalog like the training catalog, as the model predicts.

        Args:
            training: errors from the rows of the training catalog.
            squares: see ``residuals.expected_errors``.
            unit_variances: see ``bins.expected_errors``.
        """
        with jax.enable_x64(True):
            of_rows, sums, of_sums, units = (
                jax.tree.map(lambda a: a[None], double(t))
                for t in (training, self.sums, squares, dict(unit_variances))
            )
            factors = norms((self.kind,), sums.weight, self.weight)
            kinds = (self.kind,)
            errors = expected_errors(of_rows, sums, of_sums, factors, self.volume, kinds, units)
            return jax.tree.map(lambda a: np.asarray(a[0]), errors)

    def slopes(self, sums: BinSums, weight: np.ndarray) -> np.ndarray:
        """Derivatives (P, R) of the compared numbers with respect to P parameters.

        Args:
            sums: the derivatives of the sums.
            weight: (P,) the derivatives of the sum of all weights.
        """
        factor = self._factor(self.sums.weight, self.weight)
        of_factor = -(factor**2) * self._norm(sums.weight, weight, 0.0)
        flat = self._joined(jax.tree.map(lambda a: a[None], self.sums), lambda counts: counts)
        slopes = self._joined(sums, lambda counts: counts * factor)
        slopes[:, :-1] += np.multiply.outer(np.broadcast_to(of_factor, len(slopes)), flat[0, :-1])
        return slopes

    def sensitivity(self, linear: np.ndarray) -> Sensitivity:
        """Derivatives of P linear functions of the compared numbers, with respect to the sums.

        ``linear`` are the derivatives (P, R) with respect to the compared numbers.
        """
        factor = self._factor(self.sums.weight, self.weight)
        counts, first = {}, 0
        by_norm = np.zeros(len(linear))
        for name in ordered(self.sums.counts):
            known = np.asarray(self.sums.counts[name], float)
            part = linear[:, first : first + known.size]
            counts[name] = (part * factor).reshape(-1, *known.shape)
            by_norm -= factor**2 * part @ known.reshape(-1)
            first += known.size
        nothing = np.zeros_like(by_norm)
        in_bin = linear[:, first] / self.volume
        in_bin = in_bin + (by_norm if self.kind == "conditional" else nothing)
        weight = by_norm if self.kind == "density" else nothing
        return Sensitivity(BinSums(in_bin, counts), weight)

    def _norm(self, in_bin: Any, weight: Any, otherwise: float) -> Any:
        """What the counts are divided by."""
        known = {"conditional": in_bin, "density": weight}.get(self.kind, otherwise)
        return np.asarray(known, float)

    def _factor(self, in_bin: Any, weight: Any) -> np.ndarray:
        """The factor that normalizes counts, 0 in an empty bin; see ``residuals.norms``."""
        norm = np.broadcast_to(self._norm(in_bin, weight, 1.0), np.shape(in_bin))
        return np.where(norm > 0, 1 / np.where(norm > 0, norm, 1.0), 0.0)

    def _joined(self, sums: BinSums, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Changed counts and number densities (n, R) of n populations."""
        rows = len(np.asarray(sums.weight))
        counts = [np.asarray(sums.counts[n], float).reshape(rows, -1) for n in ordered(sums.counts)]
        number = np.asarray(sums.weight, float)[:, None] / self.volume
        return np.concatenate([*map(change, counts), number], axis=1)


def difference_errors(training: Compared, model: Compared | None) -> Compared:
    """As ``errors_of_difference``, in double precision on the host."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, errors_of_difference(training, model))


def as_vector(compared: Compared) -> np.ndarray:
    """The R numbers of a bin in a fixed order: the statistics, then the number density."""
    counts = [np.reshape(compared.counts[name], -1) for name in ordered(compared.counts)]
    return np.concatenate([*counts, np.reshape(compared.number, 1)])


def double(tree: Any) -> Any:
    """The same numbers in double precision; call this within ``jax.enable_x64``."""
    return jax.tree.map(lambda values: jnp.asarray(values, jnp.float64), tree)
