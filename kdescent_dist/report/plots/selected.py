"""Common parts of the plots of populations: samples in each bin, layout, and text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdescent_dist.report.data.comparison import Samples
from kdescent_dist.report.data.labels import bin_title
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.plots import style

MODEL, BEFORE = "model", "before"


@dataclass(frozen=True)
class Selected:
    """A bin with the samples in its window.

    Attributes:
        bin: the bin.
        samples: (n, d) values and (n,) weights of the ``data``, of the ``model`` and, if there is
            a fit, of the model ``before`` the fit.
        sums: weight of each of these populations in the bin.
    """

    bin: Bin
    samples: dict[str, tuple[np.ndarray, np.ndarray]]
    sums: dict[str, float]

    @property
    def fitted(self) -> bool:
        return BEFORE in self.samples


def select(bins: Sequence[Bin], samples: Mapping[str, Samples]) -> list[Selected]:
    """Select the samples in each bin.

    Args:
        bins: the bins.
        samples: ``data``, ``guess`` and ``fit``. The model is the guess if there is no fit.
    """
    which = {"data": "data", MODEL: "guess"}
    if "fit" in samples:
        which |= {MODEL: "fit", BEFORE: "guess"}
    return [
        Selected(
            bin_,
            {role: bin_.select(samples.get(name)) for role, name in which.items()},
            {role: bin_.sums[name] for role, name in which.items()},
        )
        for bin_ in bins
    ]


def have_data(selected: Sequence[Selected]) -> bool:
    """Whether there are training samples; bins with given counts have none."""
    return any(one.samples["data"][1].size for one in selected)


def layout(number: int) -> tuple[int, tuple[float, float]]:
    """Panels per row and their size, so that a row fills the width of the report."""
    columns = style.panels_per_row(number)
    width = min(style.WIDTH / columns, 4.2)
    return columns, (width, 0.92 * width + 0.15)


def title(bin_: Bin, among: Sequence[Selected]) -> str:
    """Title of the panel of a bin, with the number of training samples if there are any."""
    name = bin_title(bin_, [s.bin for s in among])
    return f"{name}\nn = {bin_.n_training:,}" if bin_.n_training else name


def lines_in_words(fitted: bool) -> str:
    """Description of the lines of a model."""
    if fitted:
        return "at the fitted parameters (orange) and at the guess (dotted)"
    return "at the guess"
