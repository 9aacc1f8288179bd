"""The phase that draws from the posterior of a fit."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import Config, PosteriorConfig
from kdescent_dist.diagnostics.problem import Problem
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.finish import MOST_BINS, MOST_PARAMETERS
from kdescent_dist.identity.versions import versions
from kdescent_dist.report.data.posterior import FILE as DRAWS_FILE
from kdescent_dist.run.directory import RunDirectory
from kdescent_dist.run.phases import Phase
from kdescent_dist.sampling.chain import require_blackjax
from kdescent_dist.sampling.netcdf import write_draws
from kdescent_dist.sampling.posterior import Chains
from kdescent_dist.sampling.summary import groups, summary

log = logging.getLogger(__name__)

FOLDER = "posterior"  # of the chains, in the run directory
PACKAGES = ("jax", "jaxlib", "blackjax")


def check_posterior(config: Config) -> None:
    """Check what a posterior needs, before a fit begins.

    Raises:
        InputError: a value is not allowed, or blackjax is missing.
    """
    if config.posterior.acceptance >= 1:
        raise InputError(
            f"posterior.acceptance={config.posterior.acceptance}: must be below 1, such as 0.8"
        )
    if config.loss.custom is not None:
        raise InputError(
            "mode=posterior: a posterior has no loss.custom, since the noise of your term is not "
            "known: leave the term out"
        )
    if all(one.fixed for one in config.parameters.values()):
        raise InputError("mode=posterior: all parameters are fixed: leave one of them free")
    require_blackjax()


def posterior_phase(
    problem: Problem,
    final: np.ndarray,
    config: PosteriorConfig,
    of: Mapping[str, Any],
    directory: RunDirectory,
    progress: Callable[[], None],
) -> Phase[dict[str, Any]]:
    """Chains of the posterior; the phase keeps its own state in ``posterior/``.

    Args:
        problem: the fit.
        final: (P,) fitted parameters.
        config: numbers of chains and draws.
        of: identity of the fit and of these parameters.
        directory: the run directory.
        progress: called often; may raise to stop.
    """
    parts = config.chains * (config.warmup + config.draws)

    def work(tell: Callable[[int], None]) -> dict[str, Any]:
        processes = Processes.of(problem.objective.mesh)
        _check_size(problem)
        # Other versions draw other numbers from the same state.
        of_chains = {**of, "packages": versions(PACKAGES)}
        chains = Chains(directory.path / FOLDER, config, of_chains, processes)
        tell(chains.number)
        if not chains.done:
            chains.carry_out(problem.linearizer, final, tell, progress)
        told, parameters = chains.told(), problem.parameters
        attributes = {
            "inference_library": "blackjax",
            "creation_library": "kdescent-dist",
            "tuning_steps": config.warmup,
        }
        file = directory.path / DRAWS_FILE
        processes.on_primary(lambda: write_draws(file, groups(parameters, told), attributes))
        known = {name: value.item() for name, value in chains.noise.items()}
        found = {**summary(parameters, told), "warmup": config.warmup, **known}
        for text in found["warnings"]:
            log.warning("posterior: %s", text)
        return found

    return Phase("posterior", work, parts)


def _check_size(problem: Problem) -> None:
    free, bins = int(np.sum(~problem.parameters.fixed)), len(problem.bins)
    if free > MOST_PARAMETERS or bins > MOST_BINS:
        raise InputError(
            f"mode=posterior: {free} free parameters and {bins} bins are too many: at most "
            f"{MOST_PARAMETERS} and {MOST_BINS}"
        )
