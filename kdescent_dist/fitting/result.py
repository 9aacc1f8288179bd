"""The result of a fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdescent_dist.config.parameters import Parameters
from kdescent_dist.fitting.state import FitState
from kdescent_dist.response.newton import NewtonState


@dataclass(frozen=True)
class FitResult:
    """A finished fit.

    Attributes:
        parameters: the parameters of the fit, with its guess and bounds.
        params: (steps + 1, parameters) trial parameters, from the guess to the final parameters.
        losses: (steps + 1,) losses at the trial parameters.
        grad_norms: (steps + 1,) norms of the gradient with respect to the optimizer's variables.
        state: the final state of the optimizer.
        message: why the steps of the optimizer ended.
        finish: the end of the Newton steps after the steps of the optimizer, None without.
        of_steps: (parameters,) answer of the steps, see ``FitConfig.answer``; by default those of
            the last step.
    """

    parameters: Parameters
    params: np.ndarray
    losses: np.ndarray
    grad_norms: np.ndarray
    state: FitState
    message: str
    finish: NewtonState | None = None
    of_steps: np.ndarray | None = None

    @property
    def arrived(self) -> np.ndarray:
        """The parameters (parameters,) that the steps end with; the finish begins there."""
        return self.params[-1] if self.of_steps is None else self.of_steps

    @property
    def answer(self) -> np.ndarray:
        """The fitted parameters (parameters,): those of the finish, or of the steps."""
        return self.arrived if self.finish is None else self.finish.params

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.parameters.names

    @property
    def final(self) -> dict[str, float]:
        """The fitted parameters by name."""
        return self.parameters.named(self.answer)

    @property
    def tree(self) -> Any:
        """The fitted parameters as the pytree that the model takes."""
        return self.parameters.tree.unflatten(self.answer)
