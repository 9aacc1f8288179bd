"""The parameters of a fit from its arguments, and their part of the identity of the fit."""

from typing import Any

import jax
import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.fitting.bounds import Bounds
from kdescent_dist.objective.loss_function import LossObjective
from kdescent_dist.objective.protocol import Objective


def parameters_of(guess: Any, bounds: Any, names: Any, objective: Objective) -> Parameters:
    """The parameters of a fit, with the guess in single precision unless x64 is enabled.

    Args:
        guess: ``Parameters``, or (parameters,) starting values.
        bounds: bounds, or one ``(low, high)`` or None per parameter; None with ``Parameters``.
        names: names of the parameters, or None; None with ``Parameters``.
        objective: the objective of the fit.

    Raises:
        InputError: the objective has other parameters, a guess is outside its bounds, or the
            arguments contradict each other.
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
    start = parameters.guess
    parameters = parameters.with_guess(start.astype(jax.dtypes.canonicalize_dtype(start.dtype)))
    parameters.check()
    return parameters


def _takes_a_vector(objective: Objective) -> bool:
    return isinstance(objective, LossObjective) and objective.parameters is None


def identity_of_parameters(parameters: Parameters) -> dict[str, Any]:
    """The parameters in the identity of a fit; values at their defaults are left out."""
    told: dict[str, Any] = {
        "names": list(parameters.names),
        "guess": parameters.guess.tolist(),
        "low": [str(low) for low in parameters.low],  # JSON has no infinity
        "high": [str(high) for high in parameters.high],
    }
    if parameters.fixed.any():
        told["fixed"] = [name for name, one in parameters.named(parameters.fixed).items() if one]
    if np.any(parameters.scale != 1):
        told["scale"] = parameters.scale.tolist()
    return told
