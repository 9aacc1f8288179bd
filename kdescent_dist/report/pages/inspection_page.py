"""The page of an inspection: what a fit would begin with, drawn before it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdescent_dist.report.data.inspection import Inspection, read_inspection
from kdescent_dist.report.data.labels import chisq
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.pages.html import Image, require_plots, save_plots, write_page
from kdescent_dist.report.pages.inspection_text import facts, parameter_rows
from kdescent_dist.report.pages.inspection_warnings import warnings_of
from kdescent_dist.report.pages.run_page import per_group
from kdescent_dist.report.plots.catalogs import plot_catalogs
from kdescent_dist.report.plots.grid import Field, plot_cells
from kdescent_dist.report.plots.kernels import plot_kernels, plot_modes
from kdescent_dist.report.plots.populations import plot_bins
from kdescent_dist.report.plots.residuals import plot_residual_maps
from kdescent_dist.report.plots.style import Plot

MOST_BINS = 12  # bins that are drawn one by one, or report.max_bins where that is smaller


def make_inspection(run_dir: Path) -> Path:
    """Draw what ``inspect.npz`` of a run directory holds.

    Returns:
        Path of ``inspect.html`` in it; the plots are in ``inspect``.

    Raises:
        InputError: matplotlib or jinja2 is missing.
    """
    require_plots()
    found = read_inspection(Path(run_dir))
    folder = found.directory / "inspect"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    shown = shown_bins(found)
    data = found.samples
    guess = {"data": data["data"], "fit": data["guess"]}

    def grouped_images(
        stem: str, bins: Sequence[Bin], draw, *more
    ) -> list[tuple[str, list[Image]]]:
        groups = per_group(stem, bins, draw, *more)
        return [(group, save_plots(folder, drawn)) for group, drawn in groups]

    own = found.config.input.catalog is not None
    return write_page(
        found.directory / "inspect.html",
        "inspect.html.j2",
        found=found,
        facts=facts(found),
        warnings=warnings_of(found),
        parameters=parameter_rows(found),
        catalogs=save_plots(folder, plot_catalogs("catalog", data, found.bins, own_input=own)),
        dropped=[
            (key.replace("_", " "), list(found.facts[key]["dropped"].items()))
            for key in ("catalog", "input_catalog")
            if found.facts.get(key, {}).get("dropped")
        ],
        grids=grouped_images("bins", found.bins, _plot_grid),
        bins=_rows(found.bins),
        shown=len(shown),
        kernels=grouped_images("kernels", shown, plot_kernels, data),
        modes=grouped_images("modes", shown, plot_modes, data),
        guesses=grouped_images("guess", shown, plot_bins, guess, False),
        residuals=grouped_images("residuals", shown, plot_residual_maps),
    )


def shown_bins(found: Inspection) -> list[Bin]:
    """The bins that are drawn: all or, of too many, from those with the fewest samples on."""
    most = min(MOST_BINS, found.config.report.max_bins)
    if len(found.bins) <= most:
        return found.bins
    by_size = sorted(found.bins, key=lambda b: b.n_training)
    chosen = np.unique(np.linspace(0, len(by_size) - 1, most).round().astype(int))
    numbers = {by_size[i].number for i in chosen}
    return [b for b in found.bins if b.number in numbers]


def _plot_grid(stem: str, bins: Sequence[Bin]) -> list[Plot]:
    """Draw the training samples in each bin of a grid, and how far the guess is from them."""
    if len(bins) < 2 or len({b.group for b in bins}) > 1:
        return []
    counts = {"training samples": np.array([b.n_training for b in bins], float)}
    fields = [Field("training samples", counts, line=bins[0].min_training)]
    worst = np.array([b.worst for b in bins])
    if (worst > 0).any():
        worst = {"guess": worst}
        fields.append(Field("reduced chi-square at the guess", worst, colormap="YlOrBr"))
    caption = "Each bin at its place in the grid: its training samples"
    if len(bins[0].window) != 2:
        caption += " (black line: min_training)"
    return [plot_cells(stem, bins, fields, caption + ", and the misfit at the guess.")]


def _rows(bins: Sequence[Bin]) -> list[dict[str, str]]:
    """One row per bin, those with the fewest training samples first."""
    return [
        {
            "number": str(b.number),
            "name": b.name,
            "columns": ", ".join(b.columns),
            "n": f"{b.n_training:,}",
            "kde": chisq(b.kde.chisq("guess")),
            "fourier": chisq(b.fourier.chisq("guess")),
        }
        for b in sorted(bins, key=lambda b: b.n_training)
    ]
