"""The run directory: the record of a run, which is all that its resume and its report read."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kdescent_dist.config import compose as configs
from kdescent_dist.config.errors import InputError
from kdescent_dist.config.problem import fingerprint, fingerprint_1
from kdescent_dist.config.schema import Config
from kdescent_dist.distributed.launchers import restarts
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.runtime import complain
from kdescent_dist.identity.fit_identity import FORMAT, FitIdentity, keys_of
from kdescent_dist.run.kept_counts import KeptCounts

log = logging.getLogger(__name__)

LOCK_OF_A_LOST_NODE = 180.0  # seconds
_DISK_BLOCK = 4096  # bytes


class RunDirectory:
    """Paths and small files of a run.

    Args:
        path: the directory, made when needed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._processes = Processes.of(None)
        self._writing = threading.Lock()
        self._tells = False  # whether this process is the one that told why the run ends

    @classmethod
    def of(cls, config: Config) -> "RunDirectory":
        """By default ``runs/<name>-<fingerprint>``: the same problem finds the same directory.

        Also one that was made by a version whose fingerprints were of another form.
        """
        marks = (fingerprint(config), fingerprint_1(config))
        paths = [Path("runs") / f"{config.name}-{mark}" for mark in marks if mark is not None]
        return cls(config.run_dir or next((p for p in paths if p.is_dir()), paths[0]))

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _writes(self) -> bool:
        return self._processes.is_primary

    @property
    def _ended(self) -> Path:
        """Is there once a process has told why the run ends at once."""
        return self.path / ".ended"

    @property
    def _config(self) -> Path:
        return self.path / "config.yaml"

    @contextmanager
    def opened(self, config: Config, processes: Processes) -> Iterator[None]:
        """Make the directory, or check that this is a continuation, and keep others out of it.

        Of several processes the primary does so, and is the one that writes from then on.

        Raises:
            InputError: it cannot be made, another run is at work in it, or it holds another
                problem; lists the keys that differ.
        """
        with ExitStack() as files:

            def claim() -> None:
                self._make(config)
                self._lock(files.enter_context((self.path / ".lock").open("w")))

            processes.on_primary(claim)
            self._processes = processes
            log.info("run directory: %s", self.path)
            yield

    def _lock(self, file: Any) -> None:
        # Shared file systems keep the lock of a node that failed for a while, and the scheduler
        # has started its job again by then.
        deadline = time.monotonic() + (LOCK_OF_A_LOST_NODE if restarts(os.environ) else 0.0)
        while True:
            try:
                # The lock goes with the process, however that ends.
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise InputError(
                        f"run_dir={self.path}: another process is at work in it: wait for it, or "
                        "choose another run_dir"
                    ) from error
                time.sleep(1.0)
            except OSError:  # a file system without locks
                return log.warning("run directory: %s cannot be locked", self.path)

    def _make(self, config: Config) -> None:
        if self._config.exists():
            known, _ = configs.read_config(self._config)
            saved = {"format": FORMAT, **keys_of(known)}
            FitIdentity.of_config(config).check(f"run_dir={self.path}", saved)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "log.txt").touch()
        except OSError as error:
            raise InputError(f"run_dir={self.path}: it cannot be written to: {error}") from error

    def claim(self, config: Config) -> None:
        """Write the resolved config, for good: only once all of the input has been checked."""
        if self._writes and not self._config.exists():
            _write(self._config, configs.to_yaml(config))

    def begin(self) -> None:
        """Forget how an earlier start ended; in every process, before they meet."""
        with contextlib.suppress(OSError):
            self._ended.unlink(missing_ok=True)

    def tell(self, reason: str) -> None:
        """Tell why the run ends at once, on the terminal and in its log; the first process does."""
        with contextlib.suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._ended.touch(exist_ok=False)
            except FileExistsError:
                return
        self._tells = True
        complain(reason)
        with contextlib.suppress(OSError), (self.path / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} ERROR {reason}\n")

    def result(self) -> dict[str, Any]:
        """What ``result.json`` says, empty before the first one was written."""
        return _read_object(self.path / "result.json")

    def write_result(self, result: dict[str, Any]) -> None:
        if self._writes:
            with self._writing:
                _write(self.path / "result.json", json.dumps(result, indent=2) + "\n")

    def write_last_result(self, result: dict[str, Any]) -> None:
        """Write what is to stay when all processes end at once.

        Process 0 does, or where it is lost the process that told the reason.
        """
        if self._writes or self._tells:
            self._writing.acquire(timeout=5)  # and not release: no more is to be written
            # Another process may have been stopped while it writes.
            _write(self.path / "result.json", json.dumps(result, indent=2) + "\n", "-last")

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write arrays to ``<name>.npz``."""
        if not self._writes:
            return
        temporary = self.path / f".{name}.npz"
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, self.path / f"{name}.npz")

    def has_arrays(self, name: str) -> bool:
        return (self.path / f"{name}.npz").is_file()

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of ``<name>.npz``, none where there is no such file or a damaged one."""
        try:
            with np.load(self.path / f"{name}.npz") as file:
                return dict(file)
        except Exception:  # whatever a truncated or altered file raises
            return {}

    def write_phase(self, name: str, known: dict[str, Any]) -> None:
        """Write the result of a phase to ``phases/<name>.json``."""
        if self._writes:
            (self.path / "phases").mkdir(exist_ok=True)
            _write(self.path / "phases" / f"{name}.json", json.dumps(known, indent=2) + "\n")

    def read_phase(self, name: str) -> dict[str, Any]:
        """What ``write_phase`` wrote, empty where there is no such file or a damaged one."""
        return _read_object(self.path / "phases" / f"{name}.json")

    def counts(self, source: str) -> KeptCounts:
        """The training counts in ``pretrain/`` that were made from a source."""
        return KeptCounts(self.path / "pretrain", self._processes, source)


def _read_object(file: Path) -> dict[str, Any]:
    # A file that a crash of the machine has cut short, or altered, says nothing.
    with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
        known = json.loads(file.read_bytes())
        return known if isinstance(known, dict) else {}
    return {}


def _write(file: Path, text: str, mark: str = "") -> None:
    """Write whole or not at all, so that a killed run leaves no half file."""
    temporary = file.with_name(f".{file.name}{mark}")
    try:
        with temporary.open("w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _may_be_overwritten(file, text):
            raise
        with file.open("r+") as opened:
            opened.write(text)
            opened.truncate()


def _may_be_overwritten(file: Path, text: str) -> bool:
    """Whether a full disk has room for a text in the blocks of a file, and no answer is in it.

    A file that is overwritten in place is lost where that fails.
    """
    before = file.read_bytes() if file.exists() else b""
    blocks = -(-len(before) // _DISK_BLOCK)
    return len(text.encode()) <= blocks * _DISK_BLOCK and b'"status": "done"' not in before
