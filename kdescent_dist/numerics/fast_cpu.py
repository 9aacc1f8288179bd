"""Faster forms of a user's loss on CPUs, behind the switch ``runtime.fast_cpu``.

``unrolled`` writes out the rounds of random numbers, with the same bits. ``written_out`` replaces
small matrices, with the same numbers to rounding. Both look inside JAX, and some losses do not
allow that. Plain JAX takes the place of a form that fails. Such a fallback is counted, and its
reason is said once in the log.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from kdescent_dist.numerics.inline_linalg import written_out
from kdescent_dist.numerics.prng import unrolled

log = logging.getLogger(__name__)

__all__ = ["fallbacks", "unrolled", "with_fallback", "written_out"]

T = TypeVar("T")

_reasons: Counter[str] = Counter()


def with_fallback(fast: Callable[[], T], plain: Callable[[], T]) -> T:
    """The result of ``fast``, or of ``plain`` where ``fast`` raises any error.

    Raises:
        Exception: what ``plain`` raises. An error of the loss itself has nothing of ``fast`` in its
            traceback.
    """
    try:
        return fast()
    except Exception as error:  # a loss that asks for the kind of its key fails in its own way
        reason = f"{type(error).__name__}: {error}"
    result = plain()
    _reasons[reason] += 1
    tell = log.info if _reasons[reason] == 1 else log.debug
    tell("runtime.fast_cpu: plain JAX compiles the loss, as its faster form failed: %s", reason)
    return result


def fallbacks() -> int:
    """How many times plain JAX has taken the place of a faster form in this process."""
    return _reasons.total()
