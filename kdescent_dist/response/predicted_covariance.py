"""Covariance of residuals as the model predicts it.

A covariance that is estimated from the rows of the training catalog follows their noise: numbers
that are low by chance have small variances, and all of them together pull the parameters. So the
model makes the covariance. Galaxies are drawn from the samples with probabilities proportional to
their weights v (see ``bins.expected_errors``). With u the influence of a sample on the numbers of
the training catalog, the covariance of the numbers is sum v u u^T.

Rows of an input catalog of its own add the noise of their influences m on the model. Where the
input catalog is the training catalog, the difference between a galaxy and what the model expects of
its row is u - m, whose covariance is sum v u u^T - sum m m^T, as the mean of u is m. Of n of N
training rows as input, each counts N / n times, and the mean of u is n / N times m.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kdescent_dist.response.covariance import given_products, selected
from kdescent_dist.response.effective_number import populations_of
from kdescent_dist.response.linearization import Linearization
from kdescent_dist.response.population_influence import PopulationInfluences
from kdescent_dist.response.population_keys import population_keys


def predicted_covariance(
    at: Linearization,
    chosen: Sequence[np.ndarray],
    progress: Callable[[], None] = lambda: None,
    populations: int | None = None,
) -> np.ndarray:
    """Covariance (Q, Q) of residuals, model minus training catalog, that the model predicts.

    It is a mean over as many populations as ``populations_of`` tells.

    Args:
        at, chosen, progress, populations: see ``residual_covariance``.
    """
    loss = at.loss
    training, model = (selected(at, chosen, which) for which in ("training", "model"))
    galaxies = selected(at, chosen, "model", [one.of_galaxies for one in at.linear])
    size = len(training[0].weight)

    def influences(keys: Sequence[np.ndarray]) -> PopulationInfluences:
        return PopulationInfluences(loss, at.params, size, keys, progress)

    keys = population_keys(loss.seed, populations_of(at, size))
    covariance = given_products(loss.sets, training)
    covariance += influences(keys).products_of_galaxies(galaxies)
    of_rows: float | np.ndarray = 0.0
    if loss.objective.data["catalog"]:
        # Two populations have the noise of the rows in common.
        pairs = zip(keys[::2], keys[1::2], strict=True)
        of_rows = np.mean([influences(pair).products(model) for pair in pairs], axis=0)
        moved = 0.0
        if loss.rows.input_rows is not None:
            moved = loss.objective.layout.size / loss.rows.training.rows.total
        covariance += (1 - 2 * moved) * of_rows
    if populations is not None or loss.fixed_key:
        own = population_keys(loss.seed, 1, fixed_key=loss.fixed_key)
        covariance += (influences(own).products(model) - of_rows) / (populations or 1)
    return covariance
