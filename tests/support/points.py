"""Points of kernels and modes, and their sums by the names that formulas give them."""

from kdescent_dist.counts.statistic import Points


def kernels_and_modes(centers, cov, modes):
    """The points of both statistics; without those of which there are none."""
    points = {
        "kde": Points({"centers": centers}, {"cov": cov}),
        "fourier": Points({"modes": modes}, {}),
    }
    numbers = {"kde": centers.shape[-2], "fourier": modes.shape[-2]}
    return {name: where for name, where in points.items() if numbers[name]}


def by_name(sums):
    """Sums in bins as ``weight``, ``kde``, ``cos`` and ``sin``."""
    named = {"weight": sums.weight}
    if "kde" in sums.counts:
        named["kde"] = sums.counts["kde"][..., 0]
    if "fourier" in sums.counts:
        named |= {"cos": sums.counts["fourier"][..., 0], "sin": sums.counts["fourier"][..., 1]}
    return named
