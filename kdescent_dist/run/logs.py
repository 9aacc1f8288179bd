"""Logging of a run, to the terminal and to log.txt of the run directory."""

import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def logging_to(path: Path, own: Path | None = None, *, is_primary: bool = True) -> Iterator[None]:
    """Log to the terminal, and to the file ``path`` once the file exists.

    Errors go to the files only: the caller reports errors on the terminal.

    Args:
        path: the log of the run.
        own: a log of this process, created immediately.
        is_primary: whether this process logs to the terminal and to ``path``.
    """
    root = logging.getLogger("kdescent_dist")
    before = root.level, root.propagate
    root.setLevel(logging.INFO)
    root.propagate = False  # handlers of libraries on the root logger would print lines twice
    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter("%(message)s"))
    terminal.addFilter(lambda record: record.levelno < logging.ERROR)
    file = _LogFile(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers: list[logging.Handler] = [terminal, file] if is_primary else [logging.NullHandler()]
    if own is not None:
        own.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(own))
        handlers[-1].setFormatter(file.formatter)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        root.level, root.propagate = before
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file that buffers lines until the file exists, and never stops a run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True)
        self._path = path
        self._waiting: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)
        # A full disk or a deleted folder must not end the run.
        with contextlib.suppress(OSError):
            if self._path.is_file():
                for waiting in self._waiting:
                    super().emit(waiting)
                self._waiting.clear()
