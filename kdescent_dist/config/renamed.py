"""Keys of the config that had another name in earlier versions: one table for all that takes them.

Files and overrides of a user may have an old name (``loader``). So may what earlier versions have
written: ``config.yaml`` (``compose``) and the identity of a fit (``identity.fit_identity``).
Fingerprints are of the old names, so that a run finds the directory that it had before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdescent_dist.config.errors import InputError


@dataclass(frozen=True)
class Renamed:
    """A key with another name than before.

    Attributes:
        old: the earlier name of the key.
        new: its present name.
        values: present names of values, by their earlier ones.
    """

    old: str
    new: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """What a user is told."""
        return f"{self.old} is now {self.new}: change it in your config"

    def value_line(self, value: str) -> str:
        """The same of a value whose name has changed."""
        return (
            f"{self.new}={value} is now {self.new}={self.values[value]}: change it in your config"
        )


RENAMED = (
    Renamed("counts.form", "counts.backend", {"blocked": "tiled"}),
    Renamed("loss.statistic", "loss.kind"),
    Renamed("loss.kde", "loss.weights.kde"),
    Renamed("loss.fourier", "loss.weights.fourier"),
    Renamed("loss.statistics", "loss.extra_sums"),
    Renamed("runtime.launcher", "runtime.started_by"),
)


def renamed_of(section: str) -> dict[str, str]:
    """The present names of keys in a section, by their earlier ones; both without the section."""
    own = [one for one in RENAMED if one.old.startswith(f"{section}.")]
    return {one.old.partition(".")[2]: one.new.partition(".")[2] for one in own}


def rename_keys(tree: dict[str, Any]) -> list[str]:
    """Give the keys of a nested config their present names, in place.

    Args:
        tree: a config, or a part of its keys, with sections as dicts.

    Returns:
        A line for each old name, for the user.

    Raises:
        InputError: an old name and the present one are both there, with different values.
    """
    lines = []
    for one in RENAMED:
        section, name = one.old.split(".")
        held = tree.get(section)
        if not isinstance(held, dict):
            continue
        *path, last = one.new.split(".")[1:]
        if name in held:
            lines.append(one.line)
            value = _renamed(held.pop(name), one.values)
            at = held
            for part in path:
                at[part] = at.get(part) or {}
                at = at[part]
            _refuse_both(one, value, _renamed(at.get(last, value), one.values))
            at[last] = value
        elif not path and held.get(last) in [*one.values]:
            lines.append(one.value_line(held[last]))
            held[last] = one.values[held[last]]
    return lines


def _refuse_both(one: Renamed, old: Any, new: Any) -> None:
    if old != new:
        raise InputError(
            f"{one.old}={old} and {one.new}={new} are both given, which are one key: "
            f"remove {one.old}"
        )


def present_name(key: str, value: Any) -> tuple[str, Any]:
    """A dotted key and its value, by the names that they have now."""
    for one in RENAMED:
        if begins(key, one.old):
            return one.new + key.removeprefix(one.old), _renamed(value, one.values)
    return key, value


def earlier_name(key: str, value: Any) -> tuple[str, Any]:
    """A dotted key and its value, by the names that they had in schemas 1 to 3."""
    for one in RENAMED:
        if begins(key, one.new):
            words = {new: old for old, new in one.values.items()}
            return one.old + key.removeprefix(one.new), _renamed(value, words)
    return key, value


def begins(key: str, with_: str) -> bool:
    """Whether a dotted key is another one, or lies below the other one."""
    return key == with_ or key.startswith(f"{with_}.")


def _renamed(value: Any, words: Mapping[str, str]) -> Any:
    return words.get(value, value) if isinstance(value, str) else value
