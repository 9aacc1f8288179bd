"""The exceptions that a user sees; each message names the key or column, and a remedy."""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

MOST_NAMES = 40  # most names in a message
DONE, FAILED, BAD_INPUT, LOST, PREEMPTED = 0, 1, 2, 69, 75  # exit codes


class InputError(ValueError):
    """A config value, a catalog or a model that cannot be used (exit code 2)."""


class CheckpointError(RuntimeError):
    """Checkpoints that cannot be written, or that are lost or damaged (exit code 1)."""


class SaveError(CheckpointError):
    """A checkpoint that could not be written; raised in the process that saves (exit code 1)."""


class StoppedFitError(Exception):
    """A fit ended before its last step; holds the trajectory up to this step.

    Attributes:
        step: number of updates done.
        params: (trials, parameters) trial parameters.
        losses: (trials,) losses at the trial parameters; if the loss failed, the last loss is not
            finite.
    """

    def __init__(self, message: str, step: int, params: np.ndarray, losses: np.ndarray) -> None:
        super().__init__(message)
        self.step = step
        self.params = params
        self.losses = losses


class NonFiniteLossError(StoppedFitError, FloatingPointError):
    """The loss or its gradient is not finite (exit code 1).

    The last good state is saved if the fit has a folder of checkpoints.
    """


class NotConvergedError(RuntimeError):
    """A fit is done, but not at the minimum of its loss, as the config requires (exit code 1)."""


class Preempted(StoppedFitError):
    """A stop was requested, such as by a signal (exit code 75).

    The state is saved if the fit has a folder of checkpoints.
    """


def closest(name: str, known: Any, earlier: Mapping[str, str] = MappingProxyType({})) -> str:
    """A hint with up to three similar valid names; if none is similar, the first 40 valid names.

    Args:
        name: the invalid name.
        known: the valid names.
        earlier: earlier names to the valid names.
    """
    known = [str(k) for k in known]
    near = difflib.get_close_matches(name, [*known, *earlier], n=3, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(dict.fromkeys(earlier.get(n, n) for n in near))}?"
    return f"there are: {listed(known, MOST_NAMES)}" if known else "there are none"


def listed(texts: Sequence[str], most: int) -> str:
    """The first of some texts, and how many more there are; empty if there are none."""
    more = f", and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
