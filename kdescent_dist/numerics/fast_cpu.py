"""Faster forms of a user's loss on CPUs, behind the switch ``runtime.fast_cpu``.

``unrolled`` unrolls the random number generator, with the same bits. ``written_out`` replaces
operations on small matrices, with the same numbers to rounding. Both look inside JAX, and fail for
some losses. Plain JAX then compiles the loss. Fallbacks are counted, and the log names each reason
once.
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
    """The result of ``fast``, or of ``plain`` if ``fast`` raises any error.

    Raises:
        Exception: ``plain`` raised it. The traceback does not mention ``fast``.
    """
    try:
        return fast()
    except Exception as error:  # such as a loss that rejects the implementation of its key
        reason = f"{type(error).__name__}: {error}"
    result = plain()
    _reasons[reason] += 1
    tell = log.info if _reasons[reason] == 1 else log.debug
    tell("runtime.fast_cpu: plain JAX compiles the loss, as its faster form failed: %s", reason)
    return result


def fallbacks() -> int:
    """How many times plain JAX has taken the place of a faster form in this process."""
    return _reasons.total()
