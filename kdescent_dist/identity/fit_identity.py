"""What tells a fit from another one, as its checkpoints know it."""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

log = logging.getLogger(__name__)

# Of what is saved. 2: the bits of a key in place of the key. 3: with a digest of the metadata, and
# an identity that tells the whole problem.
FORMAT = 3
_SHIPPED = "code.kdescent_dist."


@dataclass(frozen=True)
class FitIdentity:
    """Names and values, ready for JSON; what is at its default is left out.

    A value that is left out was at its default, also for a version of this package that did not
    know of it.

    Attributes:
        now: names and values.
        before: the values in the form that checkpoints of format 2 have them, by their names.
        shipped: names of ``before`` whose functions come with this package. Their digests were of
            the text of a file, which later versions may write otherwise.
        accept: patterns of names, such as ``package.*``, that may differ.
        version: of this package. Where another one has saved, its shipped models may be written
            otherwise.
    """

    now: Mapping[str, Any]
    before: Mapping[str, Any] = field(default_factory=dict)
    shipped: Collection[str] = ()
    accept: Collection[str] = ()
    version: str = ""

    def to_save(self) -> dict[str, Any]:
        """What a checkpoint has to have."""
        return {"format": FORMAT, "version": self.version, **self.now}

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """Lines ``name: saved -> now`` of what differs from a saved identity.

        Args:
            saved: what a checkpoint has, as ``to_save`` made it.
        """
        saved = dict(saved)
        saved_format, saved_version = saved.pop("format", 1), saved.pop("version", None)
        if saved_format not in (2, FORMAT):
            return [f"format: {saved_format} -> {FORMAT}, which cannot be continued"]
        before = saved_format == 2
        now = self.before if before else self.now
        names = now.keys() if before else now.keys() | saved.keys()
        lines = []
        for name in sorted(names):
            if _text(saved.get(name)) == _text(now.get(name)):
                continue
            line = f"{name}: {_shown(name, saved)} -> {_shown(name, now)}"
            if before and name in self.shipped:
                log.warning("the digests of %s cannot be compared, and are taken for equal", name)
            elif name.startswith(_SHIPPED) and saved_version != self.version:
                log.warning("%s: another version of this package, which is accepted", line)
            elif any(fnmatchcase(name, pattern) for pattern in self.accept):
                log.warning("accepted by checkpoint.accept: %s", line)
            else:
                lines.append(line)
        return lines


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # in which NaN equals NaN, and a tuple a list


def _shown(name: str, values: Mapping[str, Any]) -> str:
    missing = "absent" if name.startswith(("code.", "package.")) else "default"
    return str(values.get(name, missing))
