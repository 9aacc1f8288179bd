"""The checkpoints of a fit as all of its processes see them: the primary reads and writes."""

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
    """Saves what is the same in every process once, and restores it in all of them.

    Args:
        processes: those of the fit; all of them make this object, restore and complete.
        directory: folder of the checkpoints.
        config: how often to save and how many to keep.
        identity: of the fit, see ``Checkpoints``.
        saved: called by the primary with the step of each checkpoint once it is complete.
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
        """Restore the latest checkpoint that is whole, onto the devices of ``like``.

        Args:
            like: a state of the fit.
            parameters: number of parameters, of which some may be fixed.

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
        """Begin to wait for the first save by wall time."""
        if self._own is not None:
            self._own.interval.begin()

    def save(self, state: FitState, history: History) -> None:
        """Save in the background; the save before is complete when this returns."""
        if self._own is not None:
            self._own.save(state, history)

    def save_if_due(self, state: FitState, history: History) -> None:
        """Save when it is time for it, by steps or by wall time."""
        if self._own is not None:
            self._own.commit(wait=False)
            if self._own.due(int(state.step)):
                self._own.save(state, history)

    def complete(self) -> None:
        """Return once what was saved is complete: from then on any process may end."""
        self.close()
        self._processes.barrier()

    def close(self) -> None:
        """Release the folder, without the other processes."""
        if self._own is not None:
            own, self._own = self._own, None
            own.close()
