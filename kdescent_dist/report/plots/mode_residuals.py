"""Residuals of the Fourier counts of one bin."""

from collections.abc import Sequence

import numpy as np

from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.plots import style
from kdescent_dist.report.plots.panel import Plot


def plot_mode_residuals(stem: str, bin_: Bin) -> list[Plot]:
    """Draw the residuals of the Fourier counts against the length of the wave vector."""
    parts: Sequence[np.ndarray] = np.split(bin_.fourier.model, 2)
    if not np.isfinite(bin_.fourier.model).any():
        return []
    figure, (ax,) = style.small_multiples(1, 1, (5.5, 2.9))
    length = np.linalg.norm(bin_.modes, axis=1)
    for values, marker, label in zip(parts, ("o", "s"), ("real", "imaginary"), strict=True):
        look = {"ms": 3.5, "mew": 0.8, "color": style.FOURIER}
        ax.plot(length, values, marker, mfc="none" if marker == "s" else None, label=label, **look)
    for level, line in ((0, "-"), (-3, ":"), (3, ":")):
        ax.axhline(level, color="black", lw=0.7, ls=line)
    ax.set_xlabel("length of the wave vector (radians per unit)", fontsize=style.FONT)
    ax.set_ylabel("(model - data) / error", fontsize=style.FONT)
    ax.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    caption = (
        "Residuals of the Fourier counts, real and imaginary parts: at small wave vectors the "
        "model misses the mean and the width of the data, at large ones its finer structure. "
        "Dotted: 3 errors."
    )
    return [Plot(stem, figure, caption)]
