"""The phases of a run. Each is begun, saved, resumed and told in one way.

``result.json`` has a record of each phase in ``phases``: ``status`` (waiting, running, done,
preempted or failed), how many ``parts`` there are and how many are ``done`` (bins, steps), and in
how many ``starts`` and ``seconds`` of the run that was. A result that is kept stands in
``phases/<name>.json``, together with what it is of.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kdescent_dist.config.errors import Preempted
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.identity.fit_identity import as_text
from kdescent_dist.run.directory import RunDirectory

log = logging.getLogger(__name__)

R = TypeVar("R")


@dataclass(frozen=True)
class Phase(Generic[R]):
    """A part of a run.

    Attributes:
        name: name of the phase in ``result.json``, and of the file of its result.
        work: does what is left, in every process, and returns the result. It is called with a
            function that takes how many parts are done. What it saves on the way, it resumes from.
        parts: number of parts.
        of: what the result is of, ready for JSON: whatever the result depends on. The result, which
            is ready for JSON, too, is kept, and a later start of the same takes it. None for a
            phase that keeps its own state: its work is called at every start.
        files: names of the arrays in the run directory that are part of a kept result.
        keep: whether a result is worth keeping, or is to be tried again at the next start.
    """

    name: str
    work: Callable[[Callable[[int], None]], R]
    parts: int = 1
    of: Mapping[str, Any] | None = None
    files: tuple[str, ...] = ()
    keep: Callable[[R], bool] = lambda result: True


class PhaseStore:
    """Carries out phases, keeps their results in the run directory, and has a record of each.

    Args:
        directory: the run directory.
        processes: those that carry out each phase together.
        before: the records of an earlier start.
        tell: called where a record has changed, to write it.
    """

    def __init__(
        self,
        directory: RunDirectory,
        processes: Processes,
        before: Mapping[str, Any],
        tell: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._processes = processes
        self._tell = tell
        # Entries of a file that was altered count as not there.
        self._records = {
            name: {**_record(known), "status": "waiting"}
            for name, known in before.items()
            if isinstance(known, Mapping)
        }

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The record of each phase by its name, as they are now."""
        return {name: dict(record) for name, record in self._records.items()}

    def run(self, phase: Phase[R]) -> R:
        """Carry out a phase, or what is left of it, or take its result from an earlier start.

        Raises:
            Exception: what the work of the phase raises; the record tells that it ended so.
        """
        record = self._records.setdefault(phase.name, _record({}))
        kept = None if phase.of is None else self._processes.on_primary(lambda: self._kept(phase))
        if kept is not None:
            log.info("%s: done by an earlier start", phase.name)
            record |= {"status": "done", "done": phase.parts, "parts": phase.parts}
            self._tell()
            return kept["result"]
        begun, earlier = time.monotonic(), record["seconds"]
        record |= {"status": "running", "done": 0, "parts": phase.parts}
        record["starts"] += 1
        self._tell()
        counted = False

        def update(**known: Any) -> None:
            record.update(known, seconds=round(earlier + time.monotonic() - begun, 3))

        def tell(done: int) -> None:
            nonlocal counted
            counted = True
            update(done=done)
            self._tell()

        try:
            result = phase.work(tell)
            keep = phase.keep(result)
            if phase.of is not None and keep:
                self._directory.write_phase(phase.name, {"of": phase.of, "result": result})
        except BaseException as error:
            update(status="preempted" if isinstance(error, Preempted) else "failed")
            with contextlib.suppress(OSError):  # of a full disk: the error itself must be told
                self._tell()
            raise
        update(status="done" if keep else "failed")
        if keep and not counted:
            update(done=phase.parts)
        self._tell()
        return result

    def end(self, status: str) -> None:
        """Set the status of a phase that is running, where the run ends in the middle of it."""
        for record in self._records.values():
            if record["status"] == "running":
                record["status"] = status

    def _kept(self, phase: Phase[Any]) -> dict[str, Any] | None:
        known = self._directory.read_phase(phase.name)
        if "result" not in known or not all(map(self._directory.has_arrays, phase.files)):
            return None
        if as_text(known.get("of")) == as_text(phase.of):
            return known
        log.info("%s: anew, as what an earlier start has found is of another fit", phase.name)
        return None


def _record(known: Mapping[str, Any]) -> dict[str, Any]:
    """A record with all of its entries, 0 where the number is not known."""
    kinds = {"done": int, "parts": int, "starts": int, "seconds": int | float}
    found = {n: known.get(n) for n in kinds}
    numbers = {n: found[n] if isinstance(found[n], kind) else 0 for n, kind in kinds.items()}
    return {"status": "waiting", **numbers}
