"""The settings with which a fit of an earlier version is continued, where a default has changed."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

_BOUNDS = ("fit.bounds", "config.fit.bounds")
_SCALES = "config.parameters.*.scale"
_SCALE = "scale"  # of all parameters, in a fit from Python
_WIDTHS = "config.bins.*.column_width"
WIDTHS = "column widths"  # of all bins, if some differ from the standard deviations


def earlier_settings(names: Sequence[str], saved: Mapping[str, Any]) -> list[str]:
    """Settings that give the earlier meaning to what a saved identity does not state.

    Args:
        names: names that differ between the saved identity and the identity of a fit.
        saved: the saved identity.

    Returns:
        The settings, in the form of the command line.
    """
    names = [name for name in names if name not in saved]
    settings = ["fit.bounds=arctan"] if any(name in _BOUNDS for name in names) else []
    scales = [name for name in names if fnmatchcase(name, _SCALES)]
    settings += [f"{name.removeprefix('config.')}=1" for name in scales]
    if _SCALE in names and not scales:
        settings.append("parameters.NAME.scale=1")
    widths = [name for name in names if fnmatchcase(name, _WIDTHS)]
    settings += [f"{name.removeprefix('config.')}=deviation" for name in widths]
    if WIDTHS in names and not widths:
        settings.append("bins.NAME.column_width=deviation")
    return settings
