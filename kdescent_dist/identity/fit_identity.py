"""What tells a fit from another one, as its checkpoints know it."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.problem import default_of, identity_of
from kdescent_dist.config.schema import Config

log = logging.getLogger(__name__)

# Of what is saved. 2: the bits of a key in place of the key. 3: with a digest of the metadata, and
# an identity that tells the whole problem.
FORMAT = 3
_SHIPPED = "code.kdescent_dist."
_CONFIG = "config."


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

    @classmethod
    def of_config(cls, config: Config) -> "FitIdentity":
        """The part of an identity that a config tells before anything is read."""
        return cls(keys_of(config), accept=config.checkpoint.accept)

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
            if as_text(saved.get(name)) == as_text(now.get(name)):
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

    def check(self, what: str, saved: Mapping[str, Any], more: Sequence[str] = ()) -> None:
        """Refuse what belongs to another fit.

        Args:
            what: what was saved, for the message.
            saved: its identity.
            more: further lines ``name: saved -> now`` of what differs.

        Raises:
            InputError: it belongs to another fit; lists what differs and says what to do.
        """
        different = [*self.differences(saved), *more]
        if not different:
            return
        lines = "".join(f"\n  {line}" for line in different)
        names = ", ".join(line.partition(":")[0] for line in different)
        raise InputError(
            f"{what} is of another fit:{lines}\n"
            "Undo these changes to continue it, or choose another folder. To begin where it has "
            "ended, set fit.guess_from to its run directory. To continue in spite of them, set "
            f"checkpoint.accept=[{names}]"
        )


def keys_of(config: Config) -> dict[str, Any]:
    """The keys of a config that make its problem, ready for an identity."""
    return {f"{_CONFIG}{key}": value for key, value in identity_of(config).items()}


def as_text(value: Any) -> str:
    """JSON by which what was saved is compared with what is now."""
    return json.dumps(value, sort_keys=True)  # in which NaN equals NaN, and a tuple a list


def _shown(name: str, values: Mapping[str, Any]) -> str:
    if name in values:
        return str(values[name])
    if name.startswith(_CONFIG):
        default = default_of(name.removeprefix(_CONFIG))
        return "not set" if default is None else f"{default} (default)"
    return "absent" if name.startswith(("code.", "package.")) else "default"
