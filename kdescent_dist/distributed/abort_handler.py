"""What is done in place of an abort of the process, as by libraries that see no other way on."""

import ctypes
import os
import signal
from collections.abc import Callable

from kdescent_dist.config.errors import FAILED

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_kept: list[object] = []  # C knows the handlers by their addresses alone


def on_abort(then: Callable[[], None]) -> None:
    """Call a function, and end the process with exit code 1, where it would be aborted.

    Python's own handlers wait for the main thread to come back to Python, which a process that is
    about to abort never does. C's ``abort`` sends its signal to the thread that called it, outside
    of any signal's usual restrictions, so that this thread may well run Python.

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
