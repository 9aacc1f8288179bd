"""The compared numbers of a bin in double precision, and derivatives with respect to the sums."""

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
    model_errors,
    normalized,
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
        with jax.enable_x64(True):
            return _host(_alone(self._compared(self.sums, self.weight)))

    def vectors(self, sums: BinSums, weights: np.ndarray) -> np.ndarray:
        """The numbers (n, R), see ``as_vector``, of the sums in the bin over n populations.

        Args:
            sums: the sums of each population, stacked.
            weights: (n,) sums of the weights of all samples.
        """
        with jax.enable_x64(True):
            stacked, total = double((sums, weights))
            factors = norms((self.kind,) * len(weights), stacked.weight, total)
            return np.asarray(jax.vmap(as_vector)(normalized(stacked, factors, self.volume)))

    def vector(self) -> np.ndarray:
        """The numbers (R,), see ``as_vector``."""
        with jax.enable_x64(True):
            return np.asarray(self._vector(*double((self.sums, self.weight))))

    def errors(self, squares: BinSquares) -> Compared:
        """Errors of the compared numbers from sums of squares over the same samples."""
        with jax.enable_x64(True):
            one = _as_one(self.sums)
            factors = self._factors(one, self.weight)
            return _host(_alone(model_errors(one, _as_one(squares), factors, self.volume)))

    def slopes(self, sums: BinSums, weight: np.ndarray) -> np.ndarray:
        """Derivatives (P, R) of the compared numbers with respect to P parameters.

        Args:
            sums: the derivatives of the sums.
            weight: (P,) the derivatives of the sum of all weights.
        """
        at = (self.sums, self.weight)
        with jax.enable_x64(True):
            at, moved = double((at, (sums, weight)))
            along = jax.vmap(lambda change: jax.jvp(self._vector, at, change)[1])
            return np.asarray(along(moved))

    def sensitivity(self, linear: np.ndarray) -> Sensitivity:
        """Derivatives of P linear functions of the compared numbers, with respect to the sums.

        ``linear`` are the derivatives (P, R) with respect to the compared numbers.
        """
        with jax.enable_x64(True):
            at = double((self.sums, self.weight))
            pull = jax.vjp(self._vector, *at)[1]
            return _host(Sensitivity(*jax.vmap(pull)(double(linear))))

    def _compared(self, sums: BinSums, weight: Any) -> Compared:
        one = _as_one(sums)
        return normalized(one, self._factors(one, weight), self.volume)

    def _factors(self, one: BinSums, weight: Any) -> jax.Array:
        return norms((self.kind,), one.weight, weight)

    def _vector(self, sums: BinSums, weight: Any) -> jax.Array:
        return as_vector(_alone(self._compared(sums, weight)))


def difference_errors(training: Compared, model: Compared | None) -> Compared:
    """As ``errors_of_difference``, in double precision on the host."""
    with jax.enable_x64(True):
        return _host(errors_of_difference(training, model))


def as_vector(compared: Compared) -> jax.Array:
    """The R numbers of a bin in a fixed order: the statistics, then the number density."""
    counts = [compared.counts[name].reshape(-1) for name in ordered(compared.counts)]
    return jnp.concatenate([*counts, jnp.reshape(compared.number, 1)])


def double(tree: Any) -> Any:
    """The same numbers in double precision; call this within ``jax.enable_x64``."""
    return jax.tree.map(lambda values: jnp.asarray(values, jnp.float64), tree)


def _as_one(sums: Any) -> Any:
    """The sums of one bin as sums of m = 1 bins, in double precision."""
    return jax.tree.map(lambda a: a[None], double(sums))


def _alone(compared: Compared) -> Compared:
    return jax.tree.map(lambda a: a[0], compared)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
