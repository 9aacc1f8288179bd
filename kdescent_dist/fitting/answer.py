"""The answer of the steps of a fit: where the finish begins, and the answer without a finish."""

import logging
from collections.abc import Callable

import numpy as np

log = logging.getLogger(__name__)

CANDIDATES = 32  # trials of which the best is chosen
SHARED = 8  # random keys with which parameters are compared


def answer_of(
    kind: str, params: np.ndarray, losses: np.ndarray, loss: Callable[[np.ndarray, int], float]
) -> np.ndarray:
    """The parameters (P,) that are the answer of the steps.

    The mean over the last steps has less noise than the last one (Polyak and Juditsky 1992). The
    losses of steps are of different random numbers, and the lowest one is mostly luck: those of the
    lowest losses are compared by the same random numbers. Trials that are lost are left out, with a
    warning.

    Args:
        kind: ``last``; ``average``, the mean over the last tenth of the steps; or ``best``, the
            trial of the lowest loss.
        params: (steps + 1, P) trials; rows of a lost history are NaN.
        losses: (steps + 1,) their losses.
        loss: the loss at parameters (P,) with the random numbers of one of ``SHARED`` keys.
    """
    if kind == "average":
        last = params[-max(len(params) // 10, 1) :]
        last = _known(kind, last)
        return np.mean(last, axis=0, dtype=float).astype(params.dtype)
    if kind == "best":
        _known(kind, params)
        known = np.flatnonzero(np.isfinite(losses) & np.isfinite(params).all(axis=1))
        lowest = known[np.argsort(losses[known], kind="stable")[: CANDIDATES - 1]]
        chosen = sorted({*lowest.tolist(), len(params) - 1})
        again = np.array([[loss(params[i], key) for key in range(SHARED)] for i in chosen])
        means = np.mean(again, axis=1)
        if np.isfinite(means).any():
            return params[chosen[int(np.argmin(np.where(np.isfinite(means), means, np.inf)))]]
    return params[-1]


def _known(kind: str, params: np.ndarray) -> np.ndarray:
    """The trials that are not lost."""
    known = params[np.isfinite(params).all(axis=1)]
    if lost := len(params) - len(known):
        log.warning(
            "fit.answer=%s: %d of its %d trials are lost with a part of the history: the answer is "
            "that of the others, and differs from that of the whole fit",
            *(kind, lost, len(params)),
        )
    return known
