"""The checkpoints of a fit with several processes, which the primary reads and writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from kdescent_dist.config.schema import CheckpointConfig
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.fitting.checkpoints import Checkpoints
from kdescent_dist.fitting.history import History
from kdescent_dist.fitting.state import FitState, from_host
from kdescent_dist.identity.fit_identity import FitIdentity


class SharedCheckpoints:
    """Saves the state once, in the primary, and restores the state in all processes.

    Args:
        processes: the processes of the fit; all of them must create this object and call
            ``restore`` and ``complete``.
        directory: folder of the checkpoints.
        config: how often to save, and how many checkpoints to keep.
        identity: identity of the fit, see ``Checkpoints``.
        saved: called by the primary with the step of each checkpoint once the checkpoint is
            complete.
    """

    def __init__(
        self,
        processes: Processes,
        directory: Path,
        config: CheckpointConfig,
        identity: FitIdentity,
        saved: Callable[[int], None],
    ) -> None:
        self._processes = processes
        self._own: Checkpoints | None = None

        def begin() -> None:
            self._own = Checkpoints(directory, config, identity, saved)

        processes.on_primary(begin)

    def restore(self, like: FitState, parameters: int) -> tuple[FitState, History] | None:
        """Restore the latest intact checkpoint to the devices of ``like``.

        Args:
            like: a state of the fit.
            parameters: number of parameters, free and fixed.

        Raises:
            InputError, CheckpointError: see ``Checkpoints.restore``.
        """

        def read() -> tuple[list[Any], History] | None:
            assert self._own is not None
            found = self._own.restore(like, parameters)
            return None if found is None else (jax.tree.leaves(found[0]), found[1])

        found = self._processes.on_primary(read)
        if found is None:
            return None
        leaves, history = found
        return from_host(jax.tree.unflatten(jax.tree.structure(like), leaves), like), history

    def begin(self) -> None:
        """Start the interval to the first save by wall time."""
        if self._own is not None:
            self._own.interval.begin()

    def save(self, state: FitState, history: History) -> None:
        """Save in the background. When this method returns, the previous save is complete."""
        if self._own is not None:
            self._own.save(state, history)

    def save_if_due(self, state: FitState, history: History) -> None:
        """Save if a save is due by steps or by wall time."""
        if self._own is not None:
            self._own.commit(wait=False)
            if self._own.due(int(state.step)):
                self._own.save(state, history)

    def complete(self) -> None:
        """Return once the saves of all processes are complete; then any process may end."""
        self.close()
        self._processes.barrier()

    def close(self) -> None:
        """Release the folder, without the other processes."""
        if self._own is not None:
            own, self._own = self._own, None
            own.close()
