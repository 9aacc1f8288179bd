"""The identity of a fit, which its checkpoints store."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.problem import default_of, identity_of, implied_of
from kdescent_dist.config.renamed import earlier_name, present_name
from kdescent_dist.config.schema import Config
from kdescent_dist.identity.earlier_settings import earlier_settings

log = logging.getLogger(__name__)

# Format of checkpoints. Version 2 stores the bits of a key in place of the key. Version 3 adds a
# digest of the metadata, and the identity covers the whole problem.
FORMAT = 3
_SHIPPED = "code.kdescent_dist."
_CONFIG = "config."
_COUNTS = "counts"  # of an objective: its backend, a comma, which stacks are sparse


@dataclass(frozen=True)
class FitIdentity:
    """Names and values, ready for JSON; values at their defaults are left out.

    So an option of a later version does not change the identity while the option is at its default.

    Attributes:
        now: names to values.
        before: names to values in the form of checkpoints of format 2.
        shipped: names in ``before`` of functions of this package. Format 2 digests the text of
            their files, which differs between versions of this package.
        accept: patterns of names, such as ``package.*``, that may differ.
        version: version of this package. The code of shipped models may differ from the code in a
            checkpoint of another version.
    """

    now: Mapping[str, Any]
    before: Mapping[str, Any] = field(default_factory=dict)
    shipped: Collection[str] = ()
    accept: Collection[str] = ()
    version: str = ""

    @classmethod
    def of_config(cls, config: Config) -> "FitIdentity":
        """The part of an identity that follows from the config alone."""
        return cls(keys_of(config), accept=config.checkpoint.accept)

    def to_save(self) -> dict[str, Any]:
        """The identity in the form of a checkpoint."""
        return {"format": FORMAT, "version": self.version, **self.now}

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """Lines ``name: saved -> now``, one for each difference from a saved identity.

        Args:
            saved: the identity in a checkpoint, from ``to_save``.
        """
        saved = with_present_names(saved)
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
            elif self._accepts(name):
                log.warning("accepted by checkpoint.accept: %s", line)
            else:
                lines.append(line)
        return lines

    def _accepts(self, name: str) -> bool:
        """Whether ``accept`` has a name, or the one that the key had in earlier versions."""
        key = name.removeprefix(_CONFIG)
        names = (name, name.removesuffix(key) + earlier_name(key, None)[0])
        return any(fnmatchcase(one, pattern) for one in names for pattern in self.accept)

    def check(self, what: str, saved: Mapping[str, Any], more: Sequence[str] = ()) -> None:
        """Check that saved data belong to this fit.

        Args:
            what: name of the saved data, for the message.
            saved: identity of the saved data.
            more: further differences, as lines ``name: saved -> now``.

        Raises:
            InputError: the data belong to another fit; lists the differences and a remedy.
        """
        different = [*self.differences(saved), *more]
        if not different:
            return
        lines = "".join(f"\n  {line}" for line in different)
        names = [line.partition(":")[0] for line in different]
        earlier = " ".join(earlier_settings(names, with_present_names(saved)))
        hint = f"To continue it as an earlier version would, set {earlier}. " if earlier else ""
        raise InputError(
            f"{what} is of another fit:{lines}\n{hint}"
            "Undo these changes to continue it, or choose another folder. To begin where it has "
            "ended, set fit.guess_from to its run directory. To continue in spite of them, set "
            f"checkpoint.accept=[{', '.join(names)}]"
        )


def keys_of(config: Config) -> dict[str, Any]:
    """The keys of a config that define its problem, in the form of an identity."""
    return {f"{_CONFIG}{key}": value for key, value in identity_of(config).items()}


def with_present_names(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved, maybe by an earlier version, with the names that keys have now.

    Keys of a config at the value that a missing key implies are left out.
    """
    found = {}
    for name, value in saved.items():
        key = name.removeprefix(_CONFIG)
        new, value = present_name(key, value)
        if name == _COUNTS and isinstance(value, str):
            backend, *rest = value.split(",")
            value = ",".join([present_name("counts.form", backend)[1], *rest])
        if name == key or as_text(value) != as_text(implied_of(new)):
            found[name.removesuffix(key) + new] = value
    return found


def as_text(value: Any) -> str:
    """JSON text of a value, for comparisons with saved values."""
    return json.dumps(value, sort_keys=True)  # NaN equals NaN, and a tuple equals a list


def _shown(name: str, values: Mapping[str, Any]) -> str:
    if name in values:
        return str(values[name])
    key = name.removeprefix(_CONFIG)
    implied, default = implied_of(key), default_of(key)
    if implied != default:  # earlier versions had another default
        return str(implied)
    if name.startswith(_CONFIG):
        return "not set" if default is None else f"{default} (default)"
    return "absent" if name.startswith(("code.", "package.")) else "default"
