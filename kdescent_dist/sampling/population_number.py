"""How many populations a likelihood needs, so that their random numbers matter little."""

import math
from collections.abc import Callable

import numpy as np

from kdescent_dist.response.likelihood import noise_of_a_population
from kdescent_dist.response.linearization import Linearization

NOISE = 0.2  # wanted noise of the maximum, in errors of the parameters
MOST = 32


def number_of_populations(
    at: Linearization,
    wanted: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> tuple[int, float]:
    """Number of populations of a likelihood, and what noise they leave in the maximum.

    Args:
        at: the loss, linearized at the fit.
        wanted: the number, None to choose it.
        progress: called often, equally often in every process.

    Returns:
        The number; and the largest noise of a parameter, in its errors.
    """
    of_one = float(np.max(noise_of_a_population(at, progress), initial=0.0))
    number = wanted or min(max(math.ceil((of_one / NOISE) ** 2), 1), MOST)
    number = at.loss.objective.processes.on_primary(lambda: number)
    return number, of_one / math.sqrt(number)
