"""The prior of all parameters."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.parameters import Parameters
from kdescent_dist.config.priors import Prior


@dataclass(frozen=True)
class LogPrior:
    """The product of the priors of single parameters.

    Attributes:
        names: P names of all parameters.
        priors: indices of the free parameters that have a prior, each with its prior.
    """

    names: tuple[str, ...]
    priors: tuple[tuple[int, Prior], ...]

    @classmethod
    def of(cls, parameters: Parameters) -> "LogPrior | None":
        """The prior of parameters; None if no parameter that a fit moves has one."""
        each = enumerate(zip(parameters.priors, parameters.fixed, strict=True))
        found = tuple((i, prior) for i, (prior, held) in each if prior is not None and not held)
        return cls(parameters.names, found) if found else None

    def __call__(self, params: jax.Array) -> jax.Array:
        """The natural logarithm of the density at parameters (P,), but for a constant.

        It is differentiable, and takes parameters within the bounds.
        """
        terms = [jnp.sum(prior.log_prob(params[i], jnp)) for i, prior in self.priors]
        return sum(terms[1:], terms[0])

    def check(self, params: np.ndarray) -> None:
        """Check that the density is above 0 at parameters (P,).

        Raises:
            InputError: the density of a parameter is 0 or not known (names the parameter), or a
                prior cannot be computed.
        """
        for i, prior in self.priors:
            key = f"parameters.{self.names[i]}.prior"
            try:
                found = jnp.asarray(prior.log_prob(jnp.asarray(params[i]), jnp))
            except InputError:
                raise
            except Exception as error:  # of another library
                raise InputError(f"{key}: {type(error).__name__}: {error}") from error
            if found.shape != ():
                raise InputError(f"{key}: its log density is an array {found.shape}, no number")
            if not np.isfinite(found):
                raise InputError(
                    f"{key}: its log density is {float(found):g} at the guess {params[i]:g}: "
                    "begin where the density is above 0"
                )

    def told(self) -> dict[str, Any]:
        """Names of parameters to their priors in the form of the config."""
        return {self.names[i]: prior.to_config() for i, prior in self.priors}

    def code(self) -> dict[str, Any]:
        """What the identity of a fit describes of priors that are not of this package."""
        return {f"parameters.{self.names[i]}.prior": prior.code for i, prior in self.priors}
