"""Priors of parameters: what a config says of them, and their densities.

A new prior is one file with a class and one line in ``PRIORS``. Other packages add priors by the
entry points ``kdescent_dist.priors``. ``objective.log_prior`` is the prior of all parameters, in
JAX. Nothing here imports JAX.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.priors.lognormal import Lognormal
from kdescent_dist.config.priors.normal import Normal
from kdescent_dist.config.priors.of_object import METHODS, ObjectPrior
from kdescent_dist.config.priors.prior import Prior
from kdescent_dist.config.priors.truncated import Truncated
from kdescent_dist.config.priors.uniform import Uniform
from kdescent_dist.config.registry import Registry

PRIORS: Registry[type[Prior]] = Registry(
    "kdescent_dist.priors", (Normal, Lognormal, Uniform, Truncated)
)
FORM = "{NAME: [number, ...]}, such as {normal: [mean, sd]}, or {_target_: dotted path, ...}"


def prior_of(given: Any, key: str) -> Prior | None:
    """The prior that a config or a caller gives.

    Args:
        given: a mapping of the name of a prior to its numbers; ``{_target_: dotted path, ...}``;
            an object with a method ``log_prob`` or ``log_pdf``; or None for no prior.
        key: the config key, for messages.

    Raises:
        InputError: it is of another form, or its numbers are not valid.
    """
    if given is None or isinstance(given, Prior):
        return given
    if not isinstance(given, Mapping):
        if any(callable(getattr(given, name, None)) for name in METHODS):
            return ObjectPrior({}, key, given)
        raise InputError(f"{key}={given}: must be {FORM}")
    if "_target_" in given:
        return ObjectPrior(dict(given), key)
    if len(given) != 1:
        raise InputError(f"{key}={dict(given)}: must be {FORM}")
    ((name, numbers),) = given.items()
    kind = PRIORS.find(key, str(name))
    try:
        values = [float(number) for number in numbers]
        if not np.isfinite(values).all():
            raise ValueError("all numbers must be finite")
        return kind(*values)
    except (TypeError, ValueError) as error:
        wanted = (kind.__doc__ or "").strip().splitlines()[0]
        raise InputError(f"{key}={dict(given)}: {error}: must be {wanted}") from error


def within_supports(
    low: np.ndarray, high: np.ndarray, priors: Sequence[Prior | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (P,) that are also those of the priors."""
    ends = np.array([(-np.inf, np.inf) if one is None else one.support for one in priors])
    ends = ends.reshape(-1, 2)
    return np.maximum(low, ends[:, 0]), np.minimum(high, ends[:, 1])
