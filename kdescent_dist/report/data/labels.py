"""Text of names and numbers in a report."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdescent_dist.report.data.records import Bin

DASH = "\N{EN DASH}"  # in place of a missing value
MINUS = "\N{MINUS SIGN}"
MOST_NAMED = 4

_SYMBOLS = {
    "log": "log ",
    "ln": "ln ",
    "ast": "*",
    "star": "*",
    "odot": "\N{CIRCLED DOT OPERATOR}",
    "cdot": "\N{MIDDLE DOT}",
    "pm": "\N{PLUS-MINUS SIGN}",
}
_SUPERSCRIPTS = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")


def some_names(names: Sequence[str]) -> str:
    """The first few names, and the number of further names."""
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown


def column_label(name: str) -> str:
    """Axis label of a column: ``g_r`` is the color g - r; other underscores become spaces."""
    if match := re.fullmatch(r"([ugrizyYJHK])_?([ugrizyYJHK])", name):
        return "${} - {}$".format(*match.groups())
    return safe(name.replace("_", " "))


def safe(label: str) -> str:
    """A label, with escaped dollar signs if matplotlib cannot parse its mathematics."""
    from matplotlib.mathtext import MathTextParser

    if label.count("$") % 2 == 0:
        try:
            MathTextParser("path").parse(label)
        except ValueError:
            pass
        else:
            return label
    return label.replace("$", r"\$")


def window_label(window: Mapping[str, tuple[float, float]], separator: str = "\n") -> str:
    """The window of a bin in words, such as "0.1 < redshift < 0.3"."""
    if not window:
        return "all samples"
    return separator.join(
        f"{low:g} < {column_label(column)} < {high:g}" for column, (low, high) in window.items()
    )


def bin_title(bin_: Bin, among: Sequence[Bin]) -> str:
    """Title of the panel of a bin: its window, and its group if there are several groups."""
    window = window_label(bin_.window)
    several = len({b.group for b in among}) > 1
    return f"{safe(bin_.group)}\n{window}" if several else window


def number(value: Any, digits: int = 5) -> str:
    """A number for a table, a dash for None."""
    if value is None:
        return DASH
    value = float(value)
    if not np.isfinite(value):
        return str(value)
    if 10.0**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    return re.sub(r"e([+-])0*(\d+)", lambda m: f"e{m[1].strip('+')}{m[2]}", f"{value:.{digits}g}")


def plain_label(label: str) -> str:
    """A label without its mathematical markup, as text: "$\\mu_{g-r}$" becomes "μ g-r"."""

    def set_math(match: re.Match) -> str:
        text = re.sub(r"\\(?:mathrm|rm|text|mathit|mathbf)\b\s*", "", match.group(1))
        text = re.sub(r"\\([A-Za-z]+)\s?", lambda m: _symbol(m.group(1)), text)
        text = re.sub(r"\^\{?([0-9+-]+)\}?", lambda m: m.group(1).translate(_SUPERSCRIPTS), text)
        text = text.replace("-", MINUS).replace("_", " ").replace("\\", "")
        return re.sub(r"\s+", " ", re.sub(r"[{}^]", "", text)).strip()

    return re.sub(r"\$([^$]*)\$", set_math, label)


def _symbol(command: str) -> str:
    """The character of a TeX command, or the name of the command."""
    if command in _SYMBOLS:
        return _SYMBOLS[command]
    case = "CAPITAL" if command[0].isupper() else "SMALL"
    # Unicode spells lambda as "lamda".
    letter = command.upper().replace("LAMBDA", "LAMDA")
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {letter}")
    except KeyError:
        return command


def chisq(value: float) -> str:
    """A reduced chi-square as text, with fewer digits for large values."""
    if not np.isfinite(value):
        return DASH
    return "> 10,000" if value > 1e4 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def describe(value: Any) -> str:
    """A value of result.json as text."""
    if isinstance(value, Mapping):
        nested = {k: f"({describe(v)})" if isinstance(v, Mapping) else v for k, v in value.items()}
        return ", ".join(f"{k}: {describe(v)}" for k, v in nested.items())
    if isinstance(value, list | tuple):
        return ", ".join(describe(v) for v in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    return str(value)


def duration(seconds: float) -> str:
    """A time in suitable units."""
    minutes, rest = divmod(float(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
