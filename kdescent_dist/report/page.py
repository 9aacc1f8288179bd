"""The page of a report: its plots are saved, embedded and set in one HTML file."""

import base64
import importlib
import importlib.resources
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdescent_dist.errors import InputError
from kdescent_dist.report.data import Bin, Run, grouped, ranked
from kdescent_dist.report.history import plot_loss, plot_traces
from kdescent_dist.report.numbers import plot_numbers
from kdescent_dist.report.panels import DPI, Plot
from kdescent_dist.report.populations import plot_bins
from kdescent_dist.report.read import read_run
from kdescent_dist.report.residuals import plot_residual_histograms, plot_residual_maps
from kdescent_dist.report.tables import bin_rows, facts, parameter_rows, verdict
from kdescent_dist.settings import ReportConfig

STEMS = ("fit", "numbers", "residuals", "map", "loss", "parameters")


@dataclass(frozen=True)
class Image:
    """A plot as the page embeds it.

    Attributes:
        name: name of its PNG file.
        uri: the file as a data URI.
        width: width in pixels at which it is shown.
        caption: what it shows, in words.
    """

    name: str
    uri: str
    width: int
    caption: str


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
    page = _render(
        run=run,
        title=run.config.name,
        status=run.result.get("status", "unknown"),
        verdict=verdict(run),
        notes=run.notes,
        shown=len(shown),
        hidden=len(run.bins) - len(shown),
        fits=[(g, _save(folder, ps)) for g, ps in _per_group("fit", shown, plot_bins, run.samples)],
        numbers=_save(folder, plot_numbers("numbers", shown)),
        bins=bin_rows(run.bins),
        residuals=_save(folder, plot_residual_histograms("residuals", shown)),
        maps=[(g, _save(folder, ps)) for g, ps in _per_group("map", shown, plot_residual_maps)],
        loss=_save(folder, [plot_loss(history)] if history else []),
        traces=_save(folder, plot_traces(history, run.config.parameters) if history else []),
        parameters=parameter_rows(run),
        facts=facts(run),
    )
    target = run.directory / "report.html"
    # Whoever has the old report open never finds half of the new one.
    partial = target.with_suffix(".html.part")
    partial.write_text(page, encoding="utf-8")
    return partial.replace(target)


def shown_bins(run: Run) -> list[Bin]:
    """The bins that are drawn: all in their order or, of too many, the worst, worst first."""
    most = run.config.report.max_bins
    return run.bins if len(run.bins) <= most else ranked(run.bins)[:most]


def require_plots() -> None:
    """Check that a report can be drawn.

    Raises:
        InputError: matplotlib or jinja2 is missing.
    """
    for name in ("matplotlib", "jinja2"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"report: {name} is not installed: pip install kdescent-dist[plots], or set "
                "report.enabled=false"
            ) from error


def _per_group(
    stem: str, bins: Sequence[Bin], draw: Any, *arguments: Any
) -> Iterable[tuple[str, list[Plot]]]:
    taken: set[str] = set()
    for group, members in grouped(bins):
        slug = re.sub(r"[^A-Za-z0-9]+", "-", group).strip("-")[:40] or "bins"
        while slug in taken:
            slug += "-x"
        taken.add(slug)
        if drawn := draw(f"{stem}_{slug}", members, *arguments):
            yield group, drawn


def _save(folder: Path, drawn: Sequence[Plot]) -> list[Image]:
    images = []
    for plot in drawn:
        path = folder / f"{plot.stem}.png"
        plot.figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})
        uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        width = round(plot.figure.get_figwidth() * DPI)
        images.append(Image(path.name, uri, width, plot.caption))
    return images


def _render(**context: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    source = importlib.resources.files("kdescent_dist.report") / "report.html.j2"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source.read_text(encoding="utf-8")).render(**context)
