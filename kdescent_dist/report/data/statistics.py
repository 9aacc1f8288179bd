"""The statistics that bins compare, by their names, and what a page calls them."""

from collections.abc import Mapping, Sequence

from kdescent_dist.report.data.records import Bin, Residuals

# In words, and as a heading or a legend.
_SHIPPED = {
    "kde": ("kernel counts", "kernel counts (KDE)"),
    "fourier": ("Fourier counts", "Fourier counts"),
}


def statistics_of(bins: Sequence[Bin]) -> Mapping[str, Mapping[str, Residuals]]:
    """The residuals of each statistic of any bin, by the names of the bins that compare it.

    Kernels and modes are first, and the others in the order of the bins.
    """
    found: dict[str, dict[str, Residuals]] = {name: {} for name in _SHIPPED}
    for bin_ in bins:
        for name, residuals in bin_.statistics.items():
            found.setdefault(name, {})[bin_.name] = residuals
    return {name: members for name, members in found.items() if members}


def in_words(name: str) -> str:
    """The counts of a statistic, in a sentence."""
    return _SHIPPED[name][0] if name in _SHIPPED else f"counts of {name}"


def heading(name: str) -> str:
    """The counts of a statistic, in a heading or a legend."""
    return _SHIPPED[name][1] if name in _SHIPPED else f"counts of {name}"
