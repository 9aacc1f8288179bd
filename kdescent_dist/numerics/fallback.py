"""Other forms of a user's loss: merged, or written out by the switch ``runtime.written_out``.

The forms look inside JAX, and fail for some losses. Plain JAX then compiles the loss. Fallbacks are
counted, and the log names each reason once. On CPUs, ``merged.merged`` does each operation once,
``prng.unrolled`` unrolls the random number generator, with the same bits, and
``inline_linalg.written_out`` replaces operations on small matrices, with the same numbers to
rounding. On GPUs, ``without_library.without_library_calls`` replaces library calls, also with the
same numbers to rounding.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

PLAIN = "runtime.written_out: plain JAX compiles the loss"  # in the log

_reasons: Counter[str] = Counter()


def with_fallback(written: Callable[[], T], plain: Callable[[], T], told: str = PLAIN) -> T:
    """The result of ``written``, or of ``plain`` if ``written`` raises any error.

    Args:
        written: makes the form that is wanted.
        plain: makes the form that takes its place.
        told: what the log says of the form that takes the place.

    Raises:
        Exception: ``plain`` raised it. The traceback does not mention ``written``.
    """
    try:
        return written()
    except Exception as error:  # such as a loss that rejects the implementation of its key
        reason = f"{type(error).__name__}: {error}"
    result = plain()
    _reasons[reason] += 1
    tell = log.info if _reasons[reason] == 1 else log.debug
    tell("%s, as its other form failed: %s", told, reason)
    return result


def fallbacks() -> int:
    """How many times plain JAX has taken the place of a written-out form in this process."""
    return _reasons.total()
