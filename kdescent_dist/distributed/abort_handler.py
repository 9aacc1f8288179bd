"""Runs a function when a C library calls ``abort()``, before the process ends."""

import ctypes
import os
import signal
from collections.abc import Callable

from kdescent_dist.config.errors import FAILED

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_kept: list[object] = []  # C holds no reference to a handler: Python would free it


def on_abort(then: Callable[[], None]) -> None:
    """On ``abort()``, call a function and end the process with exit code 1.

    Python runs its signal handlers when the main thread returns to Python, but a process that
    aborts never returns. ``abort()`` sends SIGABRT to the thread that called it. This thread was
    not interrupted at an arbitrary point, so a C handler may run Python in it.

    Args:
        then: called in the thread that aborts.
    """

    def handle(_: int) -> None:
        try:
            then()
        finally:
            os._exit(FAILED)

    handler = _HANDLER(handle)
    _kept.append(handler)
    _set_handler(ctypes.cast(handler, ctypes.c_void_p))


def abort_as_usual() -> None:
    """Undo ``on_abort``."""
    _set_handler(ctypes.c_void_p(int(signal.SIG_DFL)))


def _set_handler(handler: ctypes.c_void_p) -> None:
    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    install(signal.SIGABRT, handler)
