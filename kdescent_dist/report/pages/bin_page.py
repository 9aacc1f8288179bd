"""The page of one bin, drawn on demand if a report has too many bins to draw."""

import re
from pathlib import Path

import numpy as np

from kdescent_dist.config.errors import InputError
from kdescent_dist.report.data.labels import number, window_label
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.data.records import Bin, Run, ranked
from kdescent_dist.report.data.statistics import heading
from kdescent_dist.report.pages.bin_table import cells, samples
from kdescent_dist.report.pages.html import require_plots, save_plots, write_page
from kdescent_dist.report.pages.pick import pick
from kdescent_dist.report.plots.further import plot_further_residuals
from kdescent_dist.report.plots.mode_residuals import plot_mode_residuals
from kdescent_dist.report.plots.populations import plot_bins
from kdescent_dist.report.plots.residuals import plot_residual_histograms, plot_residual_maps

MOST_ROWS = 10


def make_bin_page(run_dir: Path, wanted: str) -> Path:
    """Draw one bin of a run.

    Args:
        run_dir: directory of a run that has written its diagnostics.
        wanted: name of the bin, an unambiguous part of the name, or its number in the report.

    Returns:
        Path of the page, in ``plots/bins`` with the plots of the bin.

    Raises:
        InputError: there is no such bin, or the run has no diagnostics.
    """
    require_plots()
    run = read_run(Path(run_dir))
    if not run.bins:
        raise InputError(f"report.bin={wanted}: {' '.join(run.notes)}")
    bin_ = pick(run.bins, wanted)
    folder = run.directory / "plots" / "bins"
    folder.mkdir(parents=True, exist_ok=True)
    slug = _slug(run, bin_)
    drawn = [
        *plot_bins(f"{slug}_fit", [bin_], run.samples),
        *plot_residual_histograms(f"{slug}_residuals", [bin_]),
        *plot_residual_maps(f"{slug}_map", [bin_]),
        *plot_mode_residuals(f"{slug}_modes", bin_),
        *plot_further_residuals(f"{slug}_further", [bin_]),
    ]
    return write_page(
        folder / f"{slug}.html",
        "bin.html.j2",
        run=run,
        bin=bin_,
        rows=[(heading(name), cells(found)) for name, found in bin_.statistics.items()],
        facts=_facts(run, bin_),
        images=save_plots(folder, drawn),
        worst=_worst_kernels(bin_),
    )


def _slug(run: Run, bin_: Bin) -> str:
    """The name of a bin as a file name, with the number of the bin if names coincide."""
    slugs = [re.sub(r"[^A-Za-z0-9.]+", "-", b.name).strip("-.") or "bin" for b in run.bins]
    slug = slugs[bin_.number - 1]
    return slug if slugs.count(slug) == 1 else f"{slug}-{bin_.number}"


def _facts(run: Run, bin_: Bin) -> list[tuple[str, str]]:
    place = [b.name for b in ranked(run.bins)].index(bin_.name) + 1
    return [
        ("window", window_label(bin_.window, ", ").replace("$", "")),
        ("columns", ", ".join(bin_.columns)),
        ("training samples", samples(bin_)),
        ("normalization", bin_.normalization),
        ("weight of data, guess, fit", ", ".join(number(v, 4) for v in bin_.sums.values())),
        ("rank", f"{place} of {len(run.bins)}, 1 being the worst fit"),
    ]


def _worst_kernels(bin_: Bin) -> list[list[str]]:
    """Centers and residuals, in errors, of the kernels with the largest residuals."""
    known = np.flatnonzero(np.isfinite(bin_.kde.model))
    order = known[np.argsort(-np.abs(bin_.kde.model[known]))][:MOST_ROWS]
    return [
        [number(v, 4) for v in (*bin_.centers[i], bin_.kde.guess[i], bin_.kde.model[i])]
        for i in order
    ]
