"""The exceptions that a user sees; each message names the key or column and what to do."""

import numpy as np


class InputError(ValueError):
    """A config value, a catalog or a model that cannot be used (exit code 2)."""


class NonFiniteLossError(FloatingPointError):
    """The loss or its gradient is not finite; carries what was computed before.

    Attributes:
        step: the step at which it happened.
        params: (steps, parameters) trial parameters up to and including that step.
        losses: (steps,) losses, the last of them not finite where the loss itself failed.
    """

    def __init__(self, message: str, step: int, params: np.ndarray, losses: np.ndarray) -> None:
        super().__init__(message)
        self.step = step
        self.params = params
        self.losses = losses


class Preempted(Exception):
    """The fit was asked to stop by a signal; its state is saved (exit code 75)."""
