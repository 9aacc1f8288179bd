"""The report of a run: its plots, and one self-contained HTML page of them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdescent_dist.config.schema import ReportConfig
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.data.records import Bin, Run, grouped, ranked
from kdescent_dist.report.pages.html import require_plots, save_plots, write_page
from kdescent_dist.report.pages.tables import bin_rows, facts, parameter_rows, verdict
from kdescent_dist.report.plots.overview import plot_distribution, plot_grid
from kdescent_dist.report.plots.populations import plot_bins
from kdescent_dist.report.plots.residuals import plot_residual_histograms, plot_residual_maps
from kdescent_dist.report.plots.style import Plot
from kdescent_dist.report.plots.trajectory import plot_loss, plot_traces
from kdescent_dist.report.plots.weights import plot_numbers

STEMS = ("overview", "fit", "numbers", "residuals", "map", "loss", "parameters")


def make_report(run_dir: Path, settings: ReportConfig | None = None) -> Path:
    """Draw the plots of a run and write its report.

    Reads the run directory alone; what has not been written yet, or cannot be read, is left out
    and named in the report. Plots of an earlier report of the run are replaced.

    Args:
        run_dir: directory of a run, finished or not.
        settings: by default those of the run.

    Returns:
        Path of ``report.html`` in it; the plots are in ``plots``.

    Raises:
        InputError: there is no ``config.yaml``, or matplotlib or jinja2 is missing.
    """
    require_plots()
    run = read_run(Path(run_dir))
    if settings is not None:
        run = replace(run, config=replace(run.config, report=settings))
    folder = run.directory / "plots"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        if re.fullmatch(rf"({'|'.join(STEMS)})(_.*)?", old.stem):
            old.unlink()
    shown = shown_bins(run)
    history = run.history if run.history and run.history.step.size else None
    grids = [plot for _, drawn in per_group("overview", run.bins, plot_grid) for plot in drawn]
    fits = per_group("fit", shown, plot_bins, run.samples)
    maps = per_group("map", shown, plot_residual_maps)
    return write_page(
        run.directory / "report.html",
        "report.html.j2",
        run=run,
        title=run.config.name,
        status=run.result.get("status", "unknown"),
        verdict=verdict(run),
        notes=run.notes,
        shown=len(shown),
        hidden=len(run.bins) - len(shown),
        bins=bin_rows(run.bins),
        counted=any(b.counted for b in run.bins),
        overview=save_plots(folder, [*plot_distribution("overview", run.bins), *grids]),
        fits=[(group, save_plots(folder, drawn)) for group, drawn in fits],
        numbers=save_plots(folder, plot_numbers("numbers", shown)),
        residuals=save_plots(folder, plot_residual_histograms("residuals", shown)),
        maps=[(group, save_plots(folder, drawn)) for group, drawn in maps],
        loss=save_plots(folder, [plot_loss(history)] if history else []),
        traces=save_plots(folder, plot_traces(history, run.config.parameters) if history else []),
        parameters=parameter_rows(run),
        facts=facts(run),
    )


def shown_bins(run: Run) -> list[Bin]:
    """The bins that are drawn: all in their order or, of too many, the worst, worst first."""
    most = run.config.report.max_bins
    return run.bins if len(run.bins) <= most else ranked(run.bins)[:most]


def per_group(
    stem: str, bins: Sequence[Bin], draw: Any, *arguments: Any
) -> Iterable[tuple[str, list[Plot]]]:
    """Draw each group of bins by itself, its files named by the group."""
    taken: set[str] = set()
    for group, members in grouped(bins):
        slug = re.sub(r"[^A-Za-z0-9]+", "-", group).strip("-")[:40] or "bins"
        while slug in taken:
            slug += "-x"
        taken.add(slug)
        if drawn := draw(f"{stem}_{slug}", members, *arguments):
            yield group, drawn
