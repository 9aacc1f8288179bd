"""Orbax checkpoints of the fit state, with a digest that detects damage.

The state is small and the same in all processes. The primary alone saves and restores the state, as
host arrays, and sends it to the other processes; so a fit can be continued on any mesh. Checkpoints
do not depend on each other. Each save appends to the history of the fit in a separate file. Damage
to this file affects the plots, never the fit.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from kdescent_dist.config.errors import CheckpointError, InputError, SaveError
from kdescent_dist.config.schema import CheckpointConfig
from kdescent_dist.fitting.history import History, HistoryFile
from kdescent_dist.fitting.save_interval import SaveInterval
from kdescent_dist.fitting.state import FitState, to_host
from kdescent_dist.identity.digests import digest
from kdescent_dist.identity.fit_identity import FitIdentity

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

log = logging.getLogger(__name__)

_ROOM = 128 * 1024  # bytes of the small files of a checkpoint


def latest_step(directory: Path) -> int | None:
    """Step of the latest committed checkpoint in a folder, None if there is no checkpoint."""
    return max(_steps(directory), default=None)


def _steps(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return [int(one.name) for one in directory.iterdir() if one.name.isdigit()]


def begun_with(directory: Path) -> list[float] | None:
    """The guess (parameters,) of the fit whose checkpoints are in a folder; None if not known."""
    for step in sorted(_steps(directory), reverse=True):
        try:
            meta = json.loads((directory / str(step) / "meta" / "metadata").read_text())
            return [float(value) for value in meta["identity"]["guess"]]
        except (OSError, ValueError, KeyError, TypeError):  # a damaged one
            continue
    return None


class Checkpoints:
    """Saves states in ``<directory>/<step>/`` in the background; restores the latest intact one.

    Only the primary process uses this class.

    Args:
        directory: folder of the checkpoints, created when needed.
        config: how often to save, and how many checkpoints to keep.
        identity: identity of the fit; a state with another identity is not restored.
        saved: called with the step of each checkpoint once the checkpoint is complete.
    """

    def __init__(
        self,
        directory: Path,
        config: CheckpointConfig,
        identity: FitIdentity,
        saved: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.directory = Path(directory).absolute()
        self.config = config
        self.identity = identity
        self._tell_saved = saved
        self._history = HistoryFile(self.directory / "history.bin")
        self._manager = self._open()
        self._quiet = _Quiet(self.directory)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._quiet)
        self._saved_step = self._manager.latest_step()
        self._pending: int | None = None  # the step that is being saved
        self.interval = SaveInterval(config.every_seconds)

    def _open(self) -> "ocp.CheckpointManager":
        # Imported late, because the import adds a handler to the root logger.
        import orbax.checkpoint as ocp

        self.directory.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(self.config.keep),
            cleanup_tmp_directories=True,
            create=False,  # Orbax can create the folder only with all processes together
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}
            ),
        )
        return ocp.CheckpointManager(self.directory, options=options)

    def due(self, step: int) -> bool:
        """Whether it is time for a periodic save, by steps or by wall time."""
        every, last = self.config.every_steps, self._saved_step or 0
        if every is not None and step // every > last // every:
            return True
        return self.interval.due()

    def save(self, state: FitState, history: History) -> None:
        """Save in the background. When this method returns, the previous save is complete.

        Raises:
            SaveError: this save or the previous save failed; names the folder and the reason.
        """
        import orbax.checkpoint as ocp

        step, begun = int(state.step), time.monotonic()
        self.commit()
        if step == self._saved_step:
            return
        try:
            if not self.directory.exists():  # for example after a purge of old files
                log.warning("%s is gone, with all checkpoints: it is made anew", self.directory)
                self.directory.mkdir()
            arrays = to_host(state)
            self._check_room(arrays)
            meta = {
                "step": step,
                "identity": {**self.identity.to_save(), "state": _shapes(state)},
                "state": digest(arrays),
                "history": self._history.save(history.part(0, step)),
            }
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays),
                    meta=ocp.args.JsonSave(meta | {"sha256": _sha256(meta)}),
                ),
                force=True,
            )
        except Exception as error:  # an error of the disk, or any error that Orbax raises then
            raise self._failed(step, error) from error
        if not saved:
            raise self._failed(step, RuntimeError("Orbax refused it"))
        self._pending = self._saved_step = step
        self.interval.saved(time.monotonic() - begun)

    def _check_room(self, arrays: FitState) -> None:
        """Raise an error before a save starts if the disk has no room for the save."""
        needed = 2 * sum(array.nbytes for array in jax.tree.leaves(arrays)) + _ROOM
        disk = shutil.disk_usage(self.directory)
        if disk.total and disk.free < needed:  # some file systems report no sizes
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def commit(self, *, wait: bool = True) -> None:
        """Finish the pending save: check it, log it, and call ``saved``.

        Args:
            wait: whether to wait for the save; else return if the save is still in progress.

        Raises:
            SaveError: the save failed.
        """
        if self._pending is None or not (wait or not self._manager.is_saving_in_progress()):
            return
        step, self._pending = self._pending, None
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
            if not (self.directory / str(step)).is_dir():
                raise FileNotFoundError("it is not there after the save")
        except Exception as error:
            raise self._failed(step, error) from error
        log.info("saved checkpoint of step %d", step)
        begun = time.monotonic()
        self._tell_saved(step)
        self.interval.told(time.monotonic() - begun)

    def _failed(self, step: int, error: Exception) -> SaveError:
        self._saved_step = latest_step(self.directory)
        reason = _reason(error) if self.directory.is_dir() else "this folder is gone"
        last = self._saved_step
        kept = f"the checkpoint of step {last} stands" if last else "there is no earlier checkpoint"
        return SaveError(
            f"the checkpoint of step {step} could not be saved in {self.directory}: {reason}; "
            f"{kept}"
        )

    def close(self) -> None:
        """Wait for the pending save, and release the folder."""
        try:
            self.commit()
        finally:
            self._manager.close()
        for name in _LOGGERS:  # not after an error, because Orbax may log more of the error later
            logging.getLogger(name).removeFilter(self._quiet)

    def restore(self, like: FitState, parameters: int) -> tuple[FitState, History] | None:
        """Restore the latest intact checkpoint, as host arrays in the structure of ``like``.

        Damaged checkpoints are renamed to ``<step>.damaged`` once an older checkpoint is restored.
        If all checkpoints are damaged, all stay as they are. Lost rows of the history are NaN.

        Args:
            like: a state of the fit.
            parameters: number of parameters in a row of the history.

        Returns:
            The state and the history up to the state, or None if there is no checkpoint.

        Raises:
            InputError: the checkpoints belong to another fit.
            CheckpointError: all checkpoints are damaged.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, rows = self._restore_step(step, like)
            except (InputError, PermissionError):
                raise
            except Exception as error:  # truncated or altered files raise all kinds of errors
                damaged[step] = _reason(error)
                log.warning(
                    "checkpoint of step %d cannot be used (%s): trying an older one",
                    step,
                    damaged[step],
                )
                continue
            history, lost = self._load_history(rows, step, parameters, like.params.dtype)
            if lost:
                log.warning(
                    "%s: %d of the %d rows of the history are lost, to the plots alone: the state "
                    "of step %d is whole, and the fit goes on",
                    *(self._history.path, lost, len(history), step),
                )
            self._quarantine(list(damaged))
            self._saved_step = step
            return state, history
        if damaged or any(self.directory.glob("*.damaged*")):
            reasons = "".join(f"\n  step {step}: {reason}" for step, reason in damaged.items())
            raise CheckpointError(
                f"{self.directory}: not one of its checkpoints can be used:{reasons}\n"
                "They are damaged, or of another optimizer. Bring a whole one back from a copy; "
                "or, to fit from the beginning, choose another run directory or remove this one"
            )
        return None

    def _load_history(self, saved: Any, step: int, size: int, dtype: Any) -> tuple[History, int]:
        """The history, and the number of its lost rows."""
        try:
            if saved["rows"] == step and np.dtype(saved["dtype"]) == dtype:
                return self._history.load(saved, size)
        except (KeyError, TypeError):  # damaged metadata of format 2, which have no digest
            pass
        return History.lost(step, size, dtype), step

    def _restore_step(self, step: int, like: FitState) -> tuple[FitState, dict[str, Any]]:
        """The state, and the entry of the metadata from which the history is loaded."""
        import orbax.checkpoint as ocp

        def read(**items: Any) -> Any:
            return self._manager.restore(step, args=ocp.args.Composite(**items))

        meta = read(meta=ocp.args.JsonRestore())["meta"]
        known = meta.pop("sha256", None)
        earlier = meta["identity"].get("format", 1) <= 2 and known is None
        if not earlier and known != _sha256(meta):
            raise ValueError("its metadata do not match their digest")
        saved = dict(meta["identity"])
        shapes = saved.pop("state", None)
        more = [] if shapes == _shapes(like) else [f"state: {shapes} -> {_shapes(like)}"]
        self.identity.check(f"{self.directory}: the checkpoint of step {step}", saved, more)
        arrays = read(state=ocp.args.StandardRestore(to_host(like)))["state"]
        if digest(arrays) != meta["state"]:
            raise ValueError("its state does not match its digest")
        return arrays, meta["history"]

    def _quarantine(self, steps: list[int]) -> None:
        if not steps:
            return
        # The manager caches the list of steps, and would not save at or below a damaged step.
        self._manager.close()
        for step in steps:
            aside, number = self.directory / f"{step}.damaged", 1
            while aside.exists():  # an earlier checkpoint of the same step was damaged
                number += 1
                aside = self.directory / f"{step}.damaged.{number}"
            (self.directory / str(step)).rename(aside)
        self._manager = self._open()


def _shapes(state: FitState) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): str(jax.typeof(leaf)) for path, leaf in leaves}


def _sha256(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _reason(error: BaseException) -> str:
    """The root cause of a chain of errors, in one line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        # TensorStore's messages contain the error code in pages of text.
        if number := re.search(r"os_error_code='(\d+)'", str(cause)):
            return os.strerror(int(number[1]))
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _Quiet(logging.Filter):
    """Demotes Orbax's errors about failed saves, with long tracebacks, to the level DEBUG."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = str(directory)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        ours = "orbax" in record.pathname or self._directory in f"{record.getMessage()} {error}"
        failed = record.levelno >= logging.ERROR and ours
        if failed:
            log.debug("orbax: %s", record.getMessage(), exc_info=record.exc_info)
        return not failed


# Orbax logs to absl. The other loggers report errors that Orbax does not handle.
_LOGGERS = ("absl", "asyncio", "concurrent.futures")
