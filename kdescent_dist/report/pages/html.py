"""HTML pages of plots; plots are saved and also embedded, so that a page is one file."""

import base64
import importlib
import importlib.resources
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdescent_dist.config.errors import InputError
from kdescent_dist.report.plots.panel import Plot
from kdescent_dist.report.plots.style import DPI

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Image:
    """A plot embedded in a page.

    Attributes:
        name: ``<folder>/<file>`` of the PNG file.
        uri: the file as a data URI.
        width: width on the page, in pixels.
        caption, heading, folded: see ``Plot``.
    """

    name: str
    uri: str
    width: int
    caption: str
    heading: str
    folded: str


def missing_package() -> str | None:
    """The name of a missing package that pages need, else None."""
    for name in ("matplotlib", "jinja2", "corner"):
        try:
            importlib.import_module(name)
        except ImportError:
            return name
    return None


def require_plots() -> None:
    """Check that a report can be drawn.

    Raises:
        InputError: a package of the extra ``plots`` is missing.
    """
    if missing := missing_package():
        raise InputError(
            f"report: {missing} is not installed: pip install kdescent-dist[plots], or set "
            "report.enabled=false"
        )


def save_plots(folder: Path, drawn: Iterable[Plot]) -> list[Image]:
    """Write each plot to a PNG file in ``folder``."""
    return [save_plot(folder, plot) for plot in drawn]


def save_plot(folder: Path, plot: Plot) -> Image:
    """Write a plot to a PNG file in ``folder``."""
    path = folder / f"{plot.stem}.png"
    plot.figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})
    uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    width = round(plot.figure.get_figwidth() * DPI)
    name = f"{folder.name}/{path.name}"
    return Image(name, uri, width, plot.caption, plot.heading, plot.folded)


def fill(template: str, **context: Any) -> str:
    """Fill a template of ``templates``, such as ``report.html.j2``."""
    return _environment().get_template(template).render(**context)


def write_page(target: Path, template: str, **context: Any) -> Path:
    """Fill a template and write the page."""
    page = fill(template, **context)
    # Written atomically, so that a browser never reads half of the new page.
    partial = target.with_suffix(".html.part")
    partial.write_text(page, encoding="utf-8")
    return partial.replace(target)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = importlib.resources.files("kdescent_dist.report.pages") / "templates"
    return Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
