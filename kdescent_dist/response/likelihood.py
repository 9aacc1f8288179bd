"""The likelihood of the parameters, given the compared numbers: a function for samplers.

With the residuals r, model minus training catalog, at fixed points, and their covariance S, the
log likelihood is -1/2 r^T S^-1 r. S is taken at one set of parameters, and is a constant: its
factor F (R, M) makes residuals r F independent, of unit errors (``whitening``). The model is a mean
over populations whose random numbers follow from one key. S includes the noise of these random
numbers, so that the key shifts the maximum within the stated width. S from regions is scaled, so
that widths are the errors of generalized least squares (``region_sums.noise_of_inverse``).

The likelihood is a loss of sums over samples. Its value and gradient are those of ``ChainRule``: on
any mesh, with one collective each way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.bins.sums import points_at, sums_of_stack
from kdescent_dist.counts.statistics import ordered
from kdescent_dist.numerics.prng import as_key
from kdescent_dist.numerics.tiles import matmul
from kdescent_dist.objective.chain_rule import SumsLoss
from kdescent_dist.objective.residuals import normalized, norms
from kdescent_dist.objective.units import UnitSums
from kdescent_dist.response.covariance import noise_of_weights
from kdescent_dist.response.linear_response import inverse_curvature
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.points import indices_of_stacks
from kdescent_dist.response.population_keys import population_keys
from kdescent_dist.response.whitening import whitening

PROBES = 16  # populations from which the noise of one population is estimated


class Likelihood:
    """The likelihood near a fit, as a function of parameters and random key.

    Args:
        at: the loss, linearized at the fit. Processes that share its catalogs must call this
            together.
        populations: number of populations of which the model is the mean.
        progress: called often, equally often in every process.

    Attributes:
        data: all arrays. Programs of several processes, or of large catalogs, take them as an
            argument.
        populations: number of populations.
        dtype: floating-point type.
        information: (P, P) second derivatives of -log likelihood at the fit (Gauss-Newton), plus
            those of the prior.
    """

    def __init__(
        self,
        at: Linearization,
        populations: int,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._objective = at.loss.objective
        self.populations = populations
        factor = _factor(at, populations, progress)
        slopes = at.slopes @ factor
        self.information = slopes @ slopes.T + np.diag(at.of_prior)
        rows = np.flatnonzero(factor.any(axis=1))
        truth = np.concatenate([one.training.vector() for one in at.linear])[rows]
        self.dtype = np.dtype(self._objective.data["shared"]["training_weight"].dtype)
        high = truth.astype(self.dtype)
        own = {
            "points": jax.tree.map(
                np.int32, indices_of_stacks(self._objective.stacks, at.loss.compared)
            ),
            "rows": rows.astype(np.int32),
            "factor": factor[rows].astype(self.dtype),
            # The rounding of the first part would be an error of all differences.
            "truth": (high, (truth - high).astype(self.dtype)),
        }
        known = self._objective.data
        self.data = {
            "shared": {
                "stacks": known["shared"]["stacks"],
                **self._objective.chain_rule.place(own),
            },
            "catalog": {"columns": known["catalog"], "orders": known["orders"]},
            "shares": known["shares"],
        }

    def log_likelihood(self, params: Any, key: int | jax.Array, data: Any = None) -> jax.Array:
        """The log likelihood of parameters, but for a constant.

        The function goes through ``jax.grad``, ``jax.jit`` and ``jax.vmap``. The key is a constant.

        Args:
            params: (P,) parameters.
            key: seed or random key of the populations. A sampler keeps one key for a whole chain.
            data: ``self.data`` as an argument of a compiled program, by default as a constant.
        """
        data = self.data if data is None else data
        value, _ = self._objective.chain_rule.value_and_grad(
            self._unit_and_loss,
            jnp.asarray(params, self.dtype),
            as_key(key),
            data["shared"],
            data["catalog"],
            data["shares"],
        )
        return -value

    def log_posterior(self, params: Any, key: int | jax.Array, data: Any = None) -> jax.Array:
        """The log likelihood plus the logarithm of the prior, but for a constant.

        Args:
            params: (P,) parameters within their bounds.
            key, data: as in ``log_likelihood``.
        """
        params = jnp.asarray(params, self.dtype)
        return self.log_likelihood(params, key, data) + self._objective.log_prior(params)

    def residuals(self, params: Any, key: int | jax.Array, data: Any = None) -> jax.Array:
        """The M independent residuals of unit errors, model minus training catalog.

        Args:
            params, key, data: as in ``log_likelihood``.
        """
        data = self.data if data is None else data
        at = as_key(key), data["shared"], data["catalog"], data["shares"]
        params = jnp.asarray(params, self.dtype)
        return self._objective.chain_rule.totals(self._unit_and_residuals, params, at)

    @property
    def mesh(self) -> jax.sharding.Mesh:
        """The mesh of the objective."""
        return self._objective.mesh

    def _unit_and_loss(self, shared: Any, key: jax.Array) -> tuple[UnitSums, SumsLoss]:
        unit, residuals = self._unit_and_residuals(shared, key)
        return unit, lambda params, sums: 0.5 * jnp.sum(residuals(sums) ** 2)

    def _unit_and_residuals(
        self, shared: Any, key: jax.Array
    ) -> tuple[UnitSums, Callable[[Any], jax.Array]]:
        own, blocks = self._objective, self._objective.chain_rule.kernel_blocks
        draws = points_at(shared["stacks"], shared["points"], blocks)
        numbers = [{n: found.shape[1] for n, found in one.items()} for one in shared["points"]]
        keys = jax.random.split(key, self.populations)

        def of_population(params, block, catalog, kernel_block, key):
            unit = own.unit_sums(shared, draws, key, squares=False)
            sums = unit(params, block, catalog, kernel_block)
            return {"weight": sums["weight"], "stacks": sums["stacks"]}

        def unit(*arguments: Any) -> Any:
            """The mean over populations; derivatives compute each population once more."""
            of_key = jax.checkpoint(partial(of_population, *arguments))
            shapes = jax.eval_shape(of_key, keys[0])
            zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

            def add(total: Any, key: jax.Array) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, total, of_key(key)), None

            total, _ = jax.lax.scan(add, zeros, keys)
            return jax.tree.map(lambda a: a / self.populations, total)

        def residuals(sums: Any) -> jax.Array:
            weight, vectors = sums["weight"][0], []
            for stack, number, one in zip(own.stacks, numbers, sums["stacks"], strict=True):
                of_bins = sums_of_stack(number, one["sums"])
                factors = norms(stack.kinds, of_bins.weight, weight)
                model = normalized(of_bins, factors, own.config.volume)
                counts = [model.counts[name] for name in ordered(model.counts)]
                flat = [c.reshape(len(c), -1) for c in counts]
                vectors.append(jnp.concatenate([*flat, model.number[:, None]], axis=1).ravel())
            high, low = shared["truth"]
            apart = jnp.concatenate(vectors)[shared["rows"]] - high - low
            return matmul(apart, shared["factor"])

        return unit, residuals


def noise_of_a_population(
    at: Linearization, progress: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Scatter (P,) of the maximum with the random numbers of one population.

    Args:
        at: the loss, linearized at the fit. Processes that share its catalogs must call this
            together.
        progress: called often, equally often in every process.

    Returns:
        Standard deviations in errors of the parameters, 0 if a parameter is not determined.
    """
    factor = _factor(at, PROBES, progress)
    slopes = at.slopes @ factor
    inverse, determined = inverse_curvature(slopes @ slopes.T, ~at.loss.parameters.fixed)
    sums = []
    for key in population_keys(at.loss.seed, PROBES, stream=2):
        sums.append(at.whole.totals(at.params, key))
        progress()
    scatter = np.std(at.residuals(sums) @ factor @ slopes.T @ inverse, axis=0, ddof=1)
    errors = np.sqrt(np.maximum(np.diagonal(inverse), 0.0))
    return np.where(determined, scatter / np.where(determined, errors, 1.0), 0.0)


def _factor(at: Linearization, populations: int, progress: Callable[[], None]) -> np.ndarray:
    """The factor (R, M) of S^-1; S is wider by the noise of its inverse."""
    weights = whitening(at, progress, populations=populations)
    return weights.factor / np.sqrt(noise_of_weights(at, weights))
