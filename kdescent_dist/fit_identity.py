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
    """

    now: Mapping[str, Any]
    before: Mapping[str, Any] = field(default_factory=dict)
    shipped: Collection[str] = ()
    accept: Collection[str] = ()

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """Lines ``name: saved -> now`` of what differs from a saved identity.

        Args:
            saved: what a checkpoint has, with its ``format``.
        """
        saved = dict(saved)
        saved_format = saved.pop("format", 1)
        if saved_format not in (2, FORMAT):
            return [f"format: {saved_format} -> {FORMAT}, which cannot be continued"]
        if saved_format == 2:
            return self._differences_from_before(saved)
        lines = {
            name: f"{name}: {_shown(saved.get(name))} -> {_shown(self.now.get(name))}"
            for name in sorted(saved.keys() | self.now.keys())
            if _text(saved.get(name)) != _text(self.now.get(name))
        }
        for name in list(lines):
            if any(fnmatchcase(name, pattern) for pattern in self.accept):
                log.warning("accepted by checkpoint.accept: %s", lines.pop(name))
        return list(lines.values())

    def _differences_from_before(self, saved: Mapping[str, Any]) -> list[str]:
        lines = []
        for name, value in self.before.items():
            if _text(saved.get(name)) == _text(value):
                continue
            if name in self.shipped:
                log.warning(
                    "the checkpoint has a digest of an earlier scheme for the function of %s, "
                    "which cannot be compared: it is taken for the same",
                    name,
                )
            else:
                lines.append(f"{name}: {_shown(saved.get(name))} -> {_shown(value)}")
        return lines


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # in which NaN equals NaN, and a tuple a list


def _shown(value: Any) -> str:
    return "default" if value is None else str(value)
