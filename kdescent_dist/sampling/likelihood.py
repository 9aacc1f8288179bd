"""The likelihood of a fit from Python."""

from kdescent_dist.config.errors import InputError
from kdescent_dist.fitting.finish import GivenRows, given_rows
from kdescent_dist.fitting.result import FitResult
from kdescent_dist.objective.population_objective import PopulationObjective
from kdescent_dist.response.fixed_loss import FixedLoss
from kdescent_dist.response.likelihood import Likelihood
from kdescent_dist.response.linearizer import Linearizer
from kdescent_dist.sampling.population_number import number_of_populations


def likelihood(
    objective: PopulationObjective,
    result: FitResult,
    *,
    training: GivenRows | None = None,
    seed: int = 0,
    populations: int | None = None,
) -> Likelihood:
    """The likelihood of the parameters of a fit, for a sampler of your own.

    Points and covariance are constants, which follow from the seed and the fitted parameters. An
    input catalog counts as another catalog than the training catalog.

    Args:
        objective: the objective of the fit.
        result: the fit, which ``kdescent_dist.fit`` returned.
        training: columns and weights of the training catalog, and the region numbers of its rows
            where they cluster; None if all counts are given.
        seed: seed of the fit.
        populations: number of populations of which the model is the mean; by default as many as
            keep the noise of their random numbers below 0.2 errors of each parameter, and at most
            32.

    Raises:
        InputError: the objective has a term of the user's own, whose noise is not known; there is
            no training catalog, but counts of one; or its regions cannot be used.
    """
    check_likelihood(objective)
    rows = None
    if training is not None:
        rows = given_rows(training, result.parameters, "a posterior")
    loss = FixedLoss(objective, result.parameters, seed, catalogs=rows)
    at = Linearizer(loss).at(result.answer)
    return Likelihood(at, populations or number_of_populations(at)[0])


def check_likelihood(objective: PopulationObjective) -> None:
    """Check that there is a likelihood of the terms of an objective.

    Raises:
        InputError: the objective has a ``loss.custom``.
    """
    if objective.custom is not None:
        raise InputError(
            "loss.custom: a posterior has no term of your own, since its noise is not known: leave "
            "it out"
        )
