"""Parts of a long computation, each of which is saved in its own file, whole or missing."""

from collections.abc import Mapping
from typing import Any

from kdescent_dist.distributed.processes import Processes
from kdescent_dist.identity.fit_identity import as_text, with_present_names
from kdescent_dist.run.directory import RunDirectory


class KeptParts:
    """The results of numbered parts, in ``phases/<name>/`` of a run directory.

    All processes must call each method together.

    Args:
        directory: the run directory.
        processes: the processes; the primary reads and writes.
        name: name of the folder.
        of: identity of everything that the results depend on, ready for JSON. Saved results of
            anything else do not count.
    """

    def __init__(
        self, directory: RunDirectory, processes: Processes, name: str, of: Mapping[str, Any]
    ) -> None:
        self._directory, self._processes = directory, processes
        self._folder, self._of = name, dict(of)

    def read(self, part: int) -> dict[str, Any] | None:
        """The saved result of a part, None if there is none."""
        return self._processes.on_primary(lambda: self._read(part))

    def write(self, part: int, found: dict[str, Any]) -> None:
        """Save the result of a part, ready for JSON."""
        self._directory.write_phase(self._name(part), {"of": self._of, "result": found})

    def _read(self, part: int) -> dict[str, Any] | None:
        known = self._directory.read_phase(self._name(part))
        of, found = known.get("of"), known.get("result")
        if not isinstance(of, dict) or not isinstance(found, dict):
            return None
        return found if as_text(with_present_names(of)) == as_text(self._of) else None

    def _name(self, part: int) -> str:
        return f"{self._folder}/{part:04d}"
