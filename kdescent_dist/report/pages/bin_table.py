"""The table of bins, with the goodness of fit of each statistic in each bin."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdescent_dist.report.data.labels import DASH, chisq
from kdescent_dist.report.data.records import Bin, Residuals, ranked
from kdescent_dist.report.data.statistics import heading, statistics_of


def bin_table(bins: Sequence[Bin]) -> dict[str, Any]:
    """Headings of the statistics of the bins, and one row per bin, worst first."""
    names = list(statistics_of(bins))
    rows = [
        {
            "number": b.number,
            "name": b.name,
            "columns": ", ".join(b.columns),
            "n": samples(b),
            "normalization": b.normalization,
            "cells": [cells(b.statistics.get(name)) for name in names],
            "ratio": f"{b.ratio:.3f}" if np.isfinite(b.ratio) else DASH,
        }
        for b in ranked(bins)
    ]
    counted = any(b.counted for b in bins)
    return {"statistics": [heading(name) for name in names], "bins": rows, "counted": counted}


def samples(bin_: Bin) -> str:
    """Number of training samples of a bin, a dash for a bin whose counts are given."""
    return f"{bin_.n_training:,}" if bin_.n_training else DASH


def cells(residuals: Residuals | None) -> dict[str, str]:
    """Reduced chi-squares and outliers of a statistic in a bin, dashes for missing values."""
    if residuals is None:
        return dict.fromkeys(("guess", "fit", "outliers"), DASH)
    outliers = residuals.outliers()
    return {
        "guess": chisq(residuals.chisq("guess")),
        "fit": chisq(residuals.chisq("fit")),
        "outliers": f"{100 * outliers:.1f}" if np.isfinite(outliers) else DASH,
    }
