"""Saves the state of a chain with its draws, so that a chain goes on with the same bits."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdescent_dist.config.errors import CheckpointError
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.distributed.whole_file import whole_file

log = logging.getLogger(__name__)


@dataclass
class Drawn:
    """A chain up to some draw.

    Attributes:
        state: arrays of the state, the leaves of a pytree.
        told: names to arrays (draws, ...) of what is told of each draw, with the warmup.
        of_another: whether the saved chain is of something else, and does not count.
    """

    state: list[np.ndarray] = field(default_factory=list)
    told: dict[str, np.ndarray] = field(default_factory=dict)
    of_another: bool = False

    @property
    def number(self) -> int:
        """Number of draws, with the warmup."""
        return len(self.told["lp"]) if self.told else 0

    def extended(self, state: Any, told: Mapping[str, np.ndarray]) -> "Drawn":
        """The chain with further draws, and the state after them."""
        before = self.told or {name: values[:0] for name, values in told.items()}
        joined = {name: np.concatenate([before[name], told[name]]) for name in told}
        return Drawn(jax.tree.leaves(state), joined)


@dataclass(frozen=True)
class KeptChain:
    """Saves a chain in a file; only the primary process reads and writes the file.

    Attributes:
        file: the file, an NPZ archive.
        of: what the draws depend on, ready for JSON. A saved chain of anything else does not count.
        processes: the processes, which must call the methods together.
    """

    file: Path
    of: Mapping[str, Any]
    processes: Processes

    def read(self) -> Drawn:
        """The saved chain; without draws if there is none."""
        return self.processes.on_primary(self._read)

    def write(self, drawn: Drawn) -> None:
        """Save the chain, so that a killed run leaves the chain before or after.

        Raises:
            CheckpointError: the chain could not be saved.
        """
        self.processes.on_primary(lambda: self._write(drawn))

    def _read(self) -> Drawn:
        try:
            with np.load(self.file) as known:
                arrays = dict(known)
            if str(arrays.pop("of")) != _text(self.of):
                return Drawn(of_another=True)
            leaves = [arrays[f"state.{i}"] for i in range(int(arrays.pop("leaves")))]
            told = {n.removeprefix("told."): a for n, a in arrays.items() if n.startswith("told.")}
            return Drawn(leaves, told)
        except FileNotFoundError:
            return Drawn()
        except Exception as error:  # truncated or altered files raise all kinds of errors
            log.warning("%s cannot be used (%s): the chain begins anew", self.file, error)
            return Drawn()

    def _write(self, drawn: Drawn) -> None:
        arrays = {f"state.{i}": leaf for i, leaf in enumerate(drawn.state)}
        arrays |= {f"told.{name}": values for name, values in drawn.told.items()}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self.file, "wb") as opened:
                leaves = np.array(len(drawn.state))
                np.savez(opened, of=np.array(_text(self.of)), leaves=leaves, **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise CheckpointError(
                f"{self.file}: the chain could not be saved: {error.strerror}; the draws before it "
                "stand"
            ) from error


def _text(of: Mapping[str, Any]) -> str:
    return json.dumps(of, sort_keys=True)
