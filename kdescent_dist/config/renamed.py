"""The table of config keys that had another name in earlier versions.

Earlier names occur in files and overrides of users (``loader``), and in files that earlier versions
have written: ``config.yaml`` (``compose``) and the identity of a fit (``identity.fit_identity``).
Fingerprints use the earlier names, so that a run finds its earlier directory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdescent_dist.config.errors import InputError


@dataclass(frozen=True)
class Renamed:
    """A renamed key.

    Attributes:
        old: the earlier name of the key.
        new: the present name of the key.
        values: earlier names of values to their present names.
    """

    old: str
    new: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """A line for the user about the name of the key."""
        return f"{self.old} is now {self.new}: change it in your config"

    def value_line(self, value: str) -> str:
        """A line for the user about the name of a value."""
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
    Renamed("runtime.fast_cpu", "runtime.written_out"),
)


def renamed_of(section: str) -> dict[str, str]:
    """Earlier names of keys in a section to their present names, without the section."""
    own = [one for one in RENAMED if one.old.startswith(f"{section}.")]
    return {one.old.partition(".")[2]: one.new.partition(".")[2] for one in own}


def rename_keys(tree: dict[str, Any]) -> list[str]:
    """Rename the keys and values of a nested config to their present names, in place.

    Args:
        tree: a config with sections as dicts; keys may be missing.

    Returns:
        A line for the user about each earlier name.

    Raises:
        InputError: an earlier and a present name are both there, with different values.
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
    """A dotted key and its value, with their present names."""
    for one in RENAMED:
        if begins(key, one.old):
            return one.new + key.removeprefix(one.old), _renamed(value, one.values)
    return key, value


def earlier_name(key: str, value: Any) -> tuple[str, Any]:
    """A dotted key and its value, with their names of schemas 1 to 3."""
    for one in RENAMED:
        if begins(key, one.new):
            words = {new: old for old, new in one.values.items()}
            return one.old + key.removeprefix(one.new), _renamed(value, words)
    return key, value


def begins(key: str, with_: str) -> bool:
    """Whether a dotted key equals ``with_`` or lies below it."""
    return key == with_ or key.startswith(f"{with_}.")


def _renamed(value: Any, words: Mapping[str, str]) -> Any:
    return words.get(value, value) if isinstance(value, str) else value
