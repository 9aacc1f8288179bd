"""The phases of a run, which are all run, saved, resumed and recorded in the same way.

``result.json`` has a record of each phase in ``phases``: ``status`` (waiting, running, done,
preempted or failed), the numbers of ``parts`` and of parts ``done`` (bins, steps), and the numbers
of ``starts`` and ``seconds`` that the phase took. A saved result is in ``phases/<name>.json``,
together with the identity of its inputs.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kdescent_dist.config.errors import Preempted
from kdescent_dist.distributed.processes import Processes
from kdescent_dist.identity.fit_identity import as_text, with_present_names
from kdescent_dist.run.directory import RunDirectory

log = logging.getLogger(__name__)

R = TypeVar("R")


@dataclass(frozen=True)
class Phase(Generic[R]):
    """A part of a run.

    Attributes:
        name: name of the phase in ``result.json``, and of the file of its result.
        work: ``work(tell)`` does the remaining work, in every process, and returns the result.
            It calls ``tell(done)`` with the number of parts that are done. The work may save its
            own progress and resume from it.
        parts: number of parts.
        of: identity of everything that the result depends on, ready for JSON. The result, also
            ready for JSON, is saved, and a later start with the same identity uses the saved
            result. None for a phase that saves its own state: every start calls its work.
        files: names of arrays in the run directory that belong to a saved result.
        keep: whether a result is saved; else the next start tries again.
    """

    name: str
    work: Callable[[Callable[[int], None]], R]
    parts: int = 1
    of: Mapping[str, Any] | None = None
    files: tuple[str, ...] = ()
    keep: Callable[[R], bool] = lambda result: True


class PhaseStore:
    """Runs phases, saves their results in the run directory, and records their status.

    Args:
        directory: the run directory.
        processes: the processes, which run each phase together.
        before: the records of an earlier start.
        tell: called after each change of a record, to write the records.
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
        # Invalid entries of an altered file are ignored.
        self._records = {
            name: {**_record(known), "status": "waiting"}
            for name, known in before.items()
            if isinstance(known, Mapping)
        }

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Names of phases to copies of their current records."""
        return {name: dict(record) for name, record in self._records.items()}

    def run(self, phase: Phase[R]) -> R:
        """Run a phase or the rest of a phase, or return the saved result of an earlier start.

        Raises:
            Exception: the work of the phase raised it; the status of the phase is then preempted
                or failed.
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
            with contextlib.suppress(OSError):  # a full disk must not hide the error itself
                self._tell()
            raise
        update(status="done" if keep else "failed")
        if keep and not counted:
            update(done=phase.parts)
        self._tell()
        return result

    def end(self, status: str) -> None:
        """Set the status of a running phase when the run ends during the phase."""
        for record in self._records.values():
            if record["status"] == "running":
                record["status"] = status

    def _kept(self, phase: Phase[Any]) -> dict[str, Any] | None:
        known = self._directory.read_phase(phase.name)
        if "result" not in known or not all(map(self._directory.has_arrays, phase.files)):
            return None
        of = known.get("of")
        if isinstance(of, dict) and as_text(with_present_names(of)) == as_text(phase.of):
            return known
        log.info("%s: anew, as what an earlier start has found is of another fit", phase.name)
        return None


def _record(known: Mapping[str, Any]) -> dict[str, Any]:
    """A complete record; unknown numbers are 0."""
    kinds = {"done": int, "parts": int, "starts": int, "seconds": int | float}
    found = {n: known.get(n) for n in kinds}
    numbers = {n: found[n] if isinstance(found[n], kind) else 0 for n, kind in kinds.items()}
    return {"status": "waiting", **numbers}
