"""Compared columns of a bin whose width is not their standard deviation, which outliers set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kdescent_dist.bins.bin import Bin
from kdescent_dist.config.schema import BinsConfig
from kdescent_dist.pretraining.column_widths import ColumnWidths
from kdescent_dist.pretraining.sample import TrainingSample


@dataclass(frozen=True)
class NarrowColumn:
    """Two measures of the spread of a column in a bin.

    Attributes:
        deviation: weighted standard deviation.
        width: the width that sets kernels and modes.
    """

    deviation: float
    width: float


def is_robust(config: BinsConfig) -> bool:
    """Whether outliers do not set the widths of columns."""
    return config.column_width == "robust"


def narrow_columns(bin_: Bin, sample: TrainingSample) -> Mapping[str, NarrowColumn]:
    """The columns of a bin that are narrower than their standard deviation, by name.

    All processes that share the sample must call this function together.
    """
    if not is_robust(bin_.config):
        return {}
    found = ColumnWidths.of(sample)
    return {
        name: NarrowColumn(float(found.deviation[i]), float(found.width[i]))
        for i, name in enumerate(bin_.columns)
        if found.narrow[i]
    }


def describe_narrow(bins: Iterable[tuple[Bin, Mapping[str, NarrowColumn]]]) -> list[str]:
    """One line for each group and column whose width outliers do not set.

    Args:
        bins: bins, each with the result of ``narrow_columns``.
    """
    narrow: dict[tuple[str, str], list[NarrowColumn]] = {}
    for bin_, of_bin in bins:
        for name, column in of_bin.items():
            narrow.setdefault((bin_.group, name), []).append(column)
    return [
        f"bins.{group}: kernels and modes are set by a width of {found[0].width:.3g} in {name}, "
        f"from its quartiles, in place of its standard deviation {found[0].deviation:.3g}"
        + (f" (the first of {len(found)} bins)" if len(found) > 1 else "")
        for (group, name), found in narrow.items()
    ]
