"""The run directory: all files of a run; a resume and a report read nothing else."""

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
from kdescent_dist.config.problem import earlier_readings, fingerprint, fingerprint_1
from kdescent_dist.config.schema import Config
from kdescent_dist.distributed.launchers import restarts
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.runtime import complain
from kdescent_dist.distributed.whole_file import whole_file
from kdescent_dist.identity.earlier_settings import earlier_settings
from kdescent_dist.identity.fit_identity import FORMAT, FitIdentity, keys_of
from kdescent_dist.run.kept_counts import KeptCounts

log = logging.getLogger(__name__)

LOCK_OF_A_LOST_NODE = 180.0  # seconds
_DISK_BLOCK = 4096  # bytes


class RunDirectory:
    """Paths and small files of a run.

    Args:
        path: the directory, created when needed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._processes = Processes.of(None)
        self._writing = threading.Lock()
        self._tells = False  # whether this process reported why the run ends

    @classmethod
    def of(cls, config: Config) -> "RunDirectory":
        """The directory of a config, by default ``runs/<name>-<fingerprint>``.

        So the same problem uses the same directory, including directories of earlier versions,
        whose fingerprints have another form.
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
        """A file that exists once a process has reported why all processes exit."""
        return self.path / ".ended"

    @property
    def _config(self) -> Path:
        return self.path / "config.yaml"

    @contextmanager
    def opened(self, config: Config, processes: Processes, lock: str = ".lock") -> Iterator[None]:
        """Create the directory, or check that it belongs to the same problem, and lock it.

        Only the primary process does so, and only the primary writes files within the context.
        Runs that lock other files work side by side.

        Raises:
            InputError: the directory cannot be created, another run uses it, or it belongs to
                another problem; lists the keys that differ.
        """
        with ExitStack() as files:

            def claim() -> None:
                self._make(config)
                self._lock(files.enter_context((self.path / lock).open("w")))

            processes.on_primary(claim)
            self._processes = processes
            log.info("run directory: %s", self.path)
            yield

    def _lock(self, file: Any) -> None:
        # After a node failure, the scheduler may restart the job before a shared file system has
        # released the lock of the failed node.
        deadline = time.monotonic() + (LOCK_OF_A_LOST_NODE if restarts(os.environ) else 0.0)
        while True:
            try:
                # The system releases the lock at the end of the process.
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
        elif config.run_dir is None:
            self._tell_of_earlier(config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "log.txt").touch()
        except OSError as error:
            raise InputError(f"run_dir={self.path}: it cannot be written to: {error}") from error

    def _tell_of_earlier(self, config: Config) -> None:
        """Warn that a fit of the same config by an earlier version is in another directory."""
        for earlier in earlier_readings(config):
            before = RunDirectory.of(earlier).path
            if before != self.path and before.is_dir():
                log.warning(
                    "%s was begun by an earlier version, which had other defaults: this is a new "
                    "fit; to continue that one, set %s",
                    before,
                    " ".join(earlier_settings(list(keys_of(config)), keys_of(earlier))),
                )

    def claim(self, config: Config) -> None:
        """Write the resolved config once, after all input has been checked."""
        if self._writes and not self._config.exists():
            _write(self._config, configs.to_yaml(config))

    def begin(self) -> None:
        """Remove the mark of an earlier end; all processes call this before they connect."""
        with contextlib.suppress(OSError):
            self._ended.unlink(missing_ok=True)

    def tell(self, reason: str) -> None:
        """Report why the run ends, on the terminal and in its log; only the first caller does."""
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
        """The contents of ``result.json``, empty if there is no such file."""
        return _read_object(self.path / "result.json")

    def write_result(self, result: dict[str, Any]) -> None:
        if self._writes:
            with self._writing:
                _write(self.path / "result.json", json.dumps(result, indent=2) + "\n")

    def write_last_result(self, result: dict[str, Any]) -> None:
        """Write the last result before all processes exit.

        Process 0 writes; if process 0 is lost, the process that reported the reason writes.
        """
        if self._writes or self._tells:
            self._writing.acquire(timeout=5)  # never released: nothing may be written later
            # A file of its own: another process may have been stopped while writing.
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
        """The arrays of ``<name>.npz``, empty if there is no such file or the file is damaged."""
        try:
            with np.load(self.path / f"{name}.npz") as file:
                return dict(file)
        except Exception:  # truncated or altered files raise all kinds of errors
            return {}

    def write_phase(self, name: str, known: dict[str, Any]) -> None:
        """Write the result of a phase to ``phases/<name>.json``."""
        self.write_json(f"phases/{name}.json", known)

    def write_json(self, name: str, known: dict[str, Any]) -> None:
        """Write a JSON file."""
        if self._writes:
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, json.dumps(known, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """The contents of a JSON file, empty if there is no such file or the file is damaged."""
        return _read_object(self.path / name)

    def read_phase(self, name: str) -> dict[str, Any]:
        """The result of a phase, empty if there is no such file or the file is damaged."""
        return self.read_json(f"phases/{name}.json")

    def counts(self, source: str) -> KeptCounts:
        """The saved training counts of a source, in ``pretrain/``."""
        return KeptCounts(self.path / "pretrain", self._processes, source)


def _read_object(file: Path) -> dict[str, Any]:
    # A file that was truncated or altered by a crash counts as missing.
    with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
        known = json.loads(file.read_bytes())
        return known if isinstance(known, dict) else {}
    return {}


def _write(file: Path, text: str, mark: str = "") -> None:
    """Write a file atomically, so that a killed run leaves no partial file."""
    try:
        with whole_file(file, mark=mark) as opened:
            opened.write(text)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _may_be_overwritten(file, text):
            raise
        with file.open("r+") as opened:
            opened.write(text)
            opened.truncate()


def _may_be_overwritten(file: Path, text: str) -> bool:
    """Whether a text fits into the disk blocks of a file, and the file has no final result.

    On a full disk, the file can be overwritten in place, but a failure would destroy the file.
    """
    before = file.read_bytes() if file.exists() else b""
    blocks = -(-len(before) // _DISK_BLOCK)
    return len(text.encode()) <= blocks * _DISK_BLOCK and b'"status": "done"' not in before
