"""The statistics that bins compare, and their names on a page."""

from collections.abc import Mapping, Sequence

from kdescent_dist.report.data.records import Bin, Residuals

# (in a sentence, in a heading or a legend)
_SHIPPED = {
    "kde": ("kernel counts", "kernel counts (KDE)"),
    "fourier": ("Fourier counts", "Fourier counts"),
}


def statistics_of(bins: Sequence[Bin]) -> Mapping[str, Mapping[str, Residuals]]:
    """Names of statistics to the residuals of each bin that compares the statistic, by bin name.

    Kernels and modes come first, then other statistics in the order of the bins.
    """
    found: dict[str, dict[str, Residuals]] = {name: {} for name in _SHIPPED}
    for bin_ in bins:
        for name, residuals in bin_.statistics.items():
            found.setdefault(name, {})[bin_.name] = residuals
    return {name: members for name, members in found.items() if members}


def in_words(name: str) -> str:
    """Name of the counts of a statistic, for a sentence."""
    return _SHIPPED[name][0] if name in _SHIPPED else f"counts of {name}"


def heading(name: str) -> str:
    """Name of the counts of a statistic, for a heading or a legend."""
    return _SHIPPED[name][1] if name in _SHIPPED else f"counts of {name}"
