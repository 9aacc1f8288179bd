"""The report of a run: its plots, and one self-contained HTML page."""

from dataclasses import replace
from pathlib import Path

from kdescent_dist.config.registry import Registry
from kdescent_dist.config.schema import ReportConfig
from kdescent_dist.report.data.read import read_run
from kdescent_dist.report.data.records import Run
from kdescent_dist.report.pages.bin_table import bin_table
from kdescent_dist.report.pages.html import require_plots, write_page
from kdescent_dist.report.pages.sections import make_sections
from kdescent_dist.report.pages.tables import facts, parameter_rows, phase_rows, verdict
from kdescent_dist.report.plots import (
    covariance,
    coverage,
    further,
    loss,
    overview,
    populations,
    posterior,
    residuals,
    starts,
    traces,
    weights,
)
from kdescent_dist.report.plots.panel import Panel

# In the order of the page. Panels of other packages come after them.
RUN_PAGE: Registry[Panel[Run]] = Registry(
    "kdescent_dist.panels",
    (
        overview.PANEL,
        populations.PANEL,
        weights.PANEL,
        residuals.PANEL,
        further.PANEL,
        starts.PANEL,
        loss.PANEL,
        traces.PANEL,
        covariance.PANEL,
        posterior.PANEL,
        coverage.PANEL,
    ),
)


def make_report(run_dir: Path, settings: ReportConfig | None = None) -> Path:
    """Draw the plots of a run and write its report.

    Only the run directory is read. Parts that are missing, or cannot be read or drawn, are left out
    and mentioned. The plots of an earlier report of the run are replaced.

    Args:
        run_dir: directory of a run, finished or not.
        settings: settings of the report, by default the settings of the run.

    Returns:
        Path of ``report.html`` in the run directory; the plots are in ``plots``.

    Raises:
        InputError: there is no ``config.yaml``, or a package of the extra ``plots`` is missing.
    """
    require_plots()
    run = read_run(Path(run_dir))
    if settings is not None:
        run = replace(run, config=replace(run.config, report=settings))
    folder = run.directory / "plots"
    folder.mkdir(exist_ok=True)
    sections, notes = make_sections(folder, RUN_PAGE, run, run=run, **bin_table(run.bins))
    return write_page(
        run.directory / "report.html",
        "report.html.j2",
        run=run,
        status=run.result.get("status", "unknown"),
        verdict=verdict(run),
        notes=[*run.notes, *notes],
        sections=sections,
        parameters=parameter_rows(run),
        facts=facts(run),
        phases=phase_rows(run),
    )
