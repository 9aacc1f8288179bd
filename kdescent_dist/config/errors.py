"""The exceptions that a user sees; each message names the key or column and what to do."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

MOST_NAMES = 40  # in a message
DONE, FAILED, BAD_INPUT, LOST, PREEMPTED = 0, 1, 2, 69, 75  # exit codes


class InputError(ValueError):
    """A config value, a catalog or a model that cannot be used (exit code 2)."""


class CheckpointError(RuntimeError):
    """Checkpoints that cannot be written, or that are lost or damaged (exit code 1)."""


class SaveError(CheckpointError):
    """A checkpoint that could not be written; raised in the process that saves."""


class StoppedFitError(Exception):
    """A fit ended before its last step; carries what was computed.

    Attributes:
        step: number of updates done.
        params: (trials, parameters) trial parameters.
        losses: (trials,) losses at them, the last of them not finite where the loss failed.
    """

    def __init__(self, message: str, step: int, params: np.ndarray, losses: np.ndarray) -> None:
        super().__init__(message)
        self.step = step
        self.params = params
        self.losses = losses


class NonFiniteLossError(StoppedFitError, FloatingPointError):
    """The loss or its gradient is not finite; the state before is saved (exit code 1)."""


class Preempted(StoppedFitError):
    """The fit was asked to stop by a signal; its state is saved (exit code 75)."""


def closest(name: str, known: Any, earlier: Mapping[str, str] = MappingProxyType({})) -> str:
    """A hint that names the valid spelling nearest to ``name``, or all of them.

    Args:
        name: what was written.
        known: the valid names.
        earlier: the valid names of what had another name before, by that.
    """
    known = [str(k) for k in known]
    near = difflib.get_close_matches(name, [*known, *earlier], n=3, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(dict.fromkeys(earlier.get(n, n) for n in near))}?"
    more = f", and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return f"there are: {', '.join(known[:MOST_NAMES])}{more}" if known else "there are none"
