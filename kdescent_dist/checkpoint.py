"""Orbax checkpoints of the fit state, with a digest that tells a damaged one from a good one.

The state is the same in all processes and small: the primary alone saves and restores it, as host
arrays, and tells the others; so it is continued on any mesh. The history of the fit is in a file
next to the checkpoints, to which each save appends.
"""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from kdescent_dist.errors import InputError
from kdescent_dist.history import History, HistoryFile, HistoryFileError
from kdescent_dist.identity import digest
from kdescent_dist.settings import CheckpointConfig
from kdescent_dist.state import FitState, to_host

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

log = logging.getLogger(__name__)

FORMAT = 2  # of what is saved: the bits of a key in place of the key


def latest_step(directory: Path) -> int | None:
    """Step of the latest committed checkpoint in a folder, None without one."""
    if not directory.is_dir():
        return None
    return max((int(d.name) for d in directory.iterdir() if d.name.isdigit()), default=None)


class Checkpoints:
    """Saves states in ``<directory>/<step>/`` in the background, and restores the latest good one.

    For the primary process alone.

    Args:
        directory: folder of the checkpoints, made when needed.
        config: how often to save and how many to keep.
        identity: names and values, ready for JSON, that are saved with each state; a state saved
            under another identity is not restored.
    """

    def __init__(self, directory: Path, config: CheckpointConfig, identity: dict[str, Any]) -> None:
        self.directory = Path(directory).absolute()
        self.config = config
        self.identity = identity
        self._history = HistoryFile(self.directory / "history.bin")
        self._manager = self._open()
        self._saved_step = self._manager.latest_step()
        self._saved_at = time.monotonic()
        self._pending: int | None = None

    def _open(self) -> "ocp.CheckpointManager":
        # Importing Orbax adds a handler to the root logger, so it waits until it is needed.
        import orbax.checkpoint as ocp

        self.directory.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(self.config.keep),
            cleanup_tmp_directories=True,
            create=False,  # by Orbax for all processes only
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}
            ),
        )
        return ocp.CheckpointManager(self.directory, options=options)

    def due(self, step: int) -> bool:
        """Whether it is time for a periodic save, by steps or by wall time."""
        config, last = self.config, self._saved_step or 0
        if (
            config.every_steps is not None
            and step // config.every_steps > last // config.every_steps
        ):
            return True
        waited = time.monotonic() - self._saved_at
        return config.every_seconds is not None and waited >= config.every_seconds

    def save(self, state: FitState, history: History) -> None:
        """Save in the background; the previous save is complete when this returns."""
        import orbax.checkpoint as ocp

        step = int(state.step)
        self._commit()
        if step == self._saved_step:
            return
        arrays = to_host(state)
        meta = {
            "step": step,
            "identity": self._identity_of(state),
            "state": digest(arrays),
            "history": self._history.save(history.part(0, step)),
        }
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                meta=ocp.args.JsonSave(meta),
            ),
            force=True,
        )
        if not saved:
            raise RuntimeError(f"checkpoint of step {step} was refused in {self.directory}")
        self._pending, self._saved_step, self._saved_at = step, step, time.monotonic()

    def _commit(self) -> None:
        self._manager.wait_until_finished()
        self._manager.check_for_errors()
        if self._pending is not None:
            log.info("saved checkpoint of step %d", self._pending)
            self._pending = None

    def close(self) -> None:
        """Wait for the save under way, so that it is not lost, and release the folder."""
        try:
            self._commit()
        finally:
            self._manager.close()

    def restore(self, like: FitState) -> tuple[FitState, History] | None:
        """Restore the latest checkpoint that is whole, as host arrays of the kind of ``like``.

        Damaged ones are renamed to ``<step>.damaged`` and the one before them is continued, as are
        those whose rows of the history were lost after the ones of an older step. Where no step
        has its rows, the states that are whole stay: the file may come back.

        Returns:
            The state and the history up to it, or None where there is no checkpoint.

        Raises:
            InputError: they belong to another fit, or not one is whole, or the file of the history
                is missing or damaged.
        """
        damaged: list[int] = []
        without_rows: dict[int, HistoryFileError] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore_step(step, like)
            except (InputError, PermissionError):
                raise
            except Exception as error:  # whatever a truncated or altered file raises
                log.warning(
                    "checkpoint of step %d cannot be used (%s): trying an older one", step, error
                )
                if isinstance(error, HistoryFileError):
                    without_rows[step] = error
                else:
                    damaged.append(step)
                continue
            self._quarantine([*damaged, *without_rows])
            self._saved_step = step
            return restored
        self._quarantine(damaged)
        if without_rows:
            step, error = without_rows.popitem()
            raise InputError(
                f"{error}; the checkpoint of step {step} needs this file, and its state is whole: "
                "bring it back from a copy, or choose another folder to fit from the beginning"
            ) from error
        if damaged:
            raise InputError(
                f"{self.directory}: none of its {len(damaged)} checkpoints is whole; they were "
                "renamed to *.damaged: start again to fit from the beginning"
            )
        return None

    def _restore_step(self, step: int, like: FitState) -> tuple[FitState, History]:
        import orbax.checkpoint as ocp

        def read(**items: Any) -> Any:
            return self._manager.restore(step, args=ocp.args.Composite(**items))

        meta = read(meta=ocp.args.JsonRestore())["meta"]
        self._check_identity(step, meta["identity"], self._identity_of(like))
        arrays = read(state=ocp.args.StandardRestore(to_host(like)))["state"]
        if digest(arrays) != meta["state"]:
            raise ValueError("its state does not match its digest")
        return arrays, self._history.load(meta["history"], len(like.params))

    def _identity_of(self, state: FitState) -> dict[str, Any]:
        leaves = jax.tree_util.tree_leaves_with_path(state)
        shapes = {jax.tree_util.keystr(path): str(jax.typeof(leaf)) for path, leaf in leaves}
        return {"format": FORMAT, **self.identity, "state": shapes}

    def _check_identity(self, step: int, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
        different = [name for name in wanted if saved.get(name) != wanted[name]]
        if different:
            lines = "".join(f"\n  {n}: {saved.get(n)} -> {wanted[n]}" for n in different)
            raise InputError(
                f"{self.directory}: step {step} was saved by another fit:{lines}\n"
                "Undo these changes to continue it, or choose another folder"
            )

    def _quarantine(self, steps: list[int]) -> None:
        if not steps:
            return
        # The manager keeps a list of steps and would refuse to save at or below a bad one.
        self._manager.close()
        for step in steps:
            (self.directory / str(step)).rename(self.directory / f"{step}.damaged")
        self._manager = self._open()
