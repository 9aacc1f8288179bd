"""The parameters of a fit from its arguments, and their part of the identity of the fit."""

import logging
from typing import Any

import jax
import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.objective.log_prior import LogPrior
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.protocol import Objective

log = logging.getLogger(__name__)


def parameters_of(
    guess: Any, bounds: Any, names: Any, objective: Objective, map_: str
) -> Parameters:
    """The parameters of a fit, with the guess in single precision unless x64 is enabled.

    Args:
        guess: ``Parameters``, or (parameters,) starting values.
        bounds: bounds, or one ``(low, high)`` or None per parameter; None with ``Parameters``.
        names: names of the parameters, or None; None with ``Parameters``.
        objective: the objective of the fit.
        map_: map of bounded parameters, see ``FitConfig.bounds``.

    Raises:
        InputError: the objective has other parameters or priors, a guess is outside its bounds or
            has a prior of 0, or the arguments contradict each other.
    """
    if isinstance(guess, Parameters):
        if bounds is not None or names is not None:
            raise InputError("bounds, names: the parameters that are given have their own")
        known = getattr(objective, "names", None) or guess.names
        if known != guess.names:
            raise InputError(
                f"parameters: the objective has {', '.join(known)}, not {', '.join(guess.names)}"
            )
        if _takes_a_vector(objective) and guess.tree.template is not None:
            raise InputError(
                "parameters: the loss takes a vector: give LossObjective the parameters, too"
            )
        parameters = guess
    else:
        if isinstance(bounds, Bounds):
            bounds = list(zip(bounds.low, bounds.high, strict=True))
        parameters = Parameters.of_vector(guess, names, bounds)
    _check_priors(objective, parameters)
    start = parameters.guess
    kind = jax.dtypes.canonicalize_dtype(start.dtype)
    return begun_inside(parameters.with_guess(start.astype(kind)), map_)


def begun_inside(parameters: Parameters, map_: str, prefix: str = "") -> Parameters:
    """The parameters at the start of a fit, checked, and with a guess on its bound moved inside.

    With the map ``arctan``, such a guess is refused, as in earlier versions.

    Args:
        parameters: parameters, with the guess in the precision of the fit.
        map_: map of bounded parameters, see ``FitConfig.bounds``.
        prefix: prefix of the names in messages.

    Raises:
        InputError: a guess is outside its bounds, see ``Parameters.check``.
    """
    begun = parameters if map_ == "arctan" else parameters.inside()
    begun.check(prefix)
    moved = zip(parameters.names, parameters.guess, begun.guess, strict=True)
    for name, guess, start in moved:
        if guess != start:
            text = "%s%s: the guess %g is on its bound: the fit begins at %.9g"
            log.info(text, prefix, name, guess, start)
    return begun


def _check_priors(objective: Objective, parameters: Parameters) -> None:
    prior = LogPrior.of(parameters)
    if prior == getattr(objective, "prior", None):
        if prior is not None:
            prior.check(parameters.guess)
    elif isinstance(objective, LossObjective):
        raise InputError("priors: a LossObjective has none: add -2 log p to the loss itself")
    else:
        raise InputError(
            "priors: those of the objective and of the fit differ: give PopulationObjective and "
            "fit the same Parameters"
        )


def _takes_a_vector(objective: Objective) -> bool:
    return isinstance(objective, LossObjective) and objective.parameters is None


def tell_scales(parameters: Parameters) -> None:
    """Log the free parameters whose scale is not 1."""
    named = parameters.named(np.where(parameters.fixed, 1.0, parameters.scale))
    if scaled := [f"{name}: {scale:g}" for name, scale in named.items() if scale != 1]:
        log.info("scales of parameters in the optimizer: %s", ", ".join(scaled))


def identity_of_parameters(parameters: Parameters, map_: str) -> dict[str, Any]:
    """The parameters in the identity of a fit; values that earlier versions imply are left out.

    Args:
        parameters: the parameters.
        map_: map of bounded parameters, see ``FitConfig.bounds``.
    """
    told: dict[str, Any] = {
        "names": list(parameters.names),
        "guess": parameters.guess.tolist(),
        "low": [str(low) for low in parameters.low],  # JSON has no infinity
        "high": [str(high) for high in parameters.high],
    }
    if parameters.fixed.any():
        told["fixed"] = list(parameters.fixed_names)
    if np.any(parameters.scale != 1):
        told["scale"] = parameters.scale.tolist()
    bounded = np.isfinite(parameters.low) | np.isfinite(parameters.high)
    if map_ != "arctan" and np.any(bounded & ~parameters.fixed):
        told["fit.bounds"] = map_
    return told
