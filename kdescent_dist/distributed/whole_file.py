"""Files that a killed run leaves as they were before, or as they are after."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def whole_file(file: Path, mode: str = "w", mark: str = "") -> Iterator[IO[Any]]:
    """Open a new file beside a file, which it replaces at the end; after an error, it is removed.

    Args:
        file: the file.
        mode: mode of the new file, ``w`` or ``wb``.
        mark: end of the name of the new file, for those that write at the same time.

    Raises:
        OSError: the new file could not be written; the file stands.
    """
    temporary = file.with_name(f".{file.name}{mark}")
    try:
        with temporary.open(mode) as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
