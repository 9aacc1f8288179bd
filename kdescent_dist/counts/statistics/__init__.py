"""The statistics that a fit can compare, by name; other packages add more by an entry point."""

from collections.abc import Iterable

from kdescent_dist.config.registry import Registry
from kdescent_dist.counts.statistic import Statistic
from kdescent_dist.counts.statistics.kernels import GaussianKernels
from kdescent_dist.counts.statistics.modes import FourierModes

STATISTICS: Registry[Statistic] = Registry(
    "kdescent_dist.statistics", (GaussianKernels(), FourierModes())
)


def statistic(name: str) -> Statistic:
    """The statistic of a name; an unknown name is an InputError."""
    return STATISTICS.find("statistics", name)


def ordered(names: Iterable[str]) -> dict[str, Statistic]:
    """Names to statistics in a fixed order: shipped statistics, then other statistics by name.

    JAX sorts the keys of a dict, but the order of a sum over statistics changes its last bits.
    """
    shipped = [one.name for one in STATISTICS.shipped]
    others = sorted(set(names := tuple(names)) - set(shipped))
    return {name: statistic(name) for name in [*shipped, *others] if name in names}
