"""HTML pages of plots: the plots are saved and embedded, so that a page is one file."""

import base64
import importlib
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdescent_dist.config.errors import InputError
from kdescent_dist.report.plots.style import DPI, Plot


@dataclass(frozen=True)
class Image:
    """A plot as a page embeds it.

    Attributes:
        name: name of its PNG file, with that of its folder.
        uri: the file as a data URI.
        width: width in pixels at which it is shown.
        caption: what it shows, in words.
    """

    name: str
    uri: str
    width: int
    caption: str


def missing_package() -> str | None:
    """The name of a package that pages need and that is missing, if any."""
    for name in ("matplotlib", "jinja2"):
        try:
            importlib.import_module(name)
        except ImportError:
            return name
    return None


def require_plots() -> None:
    """Check that a report can be drawn.

    Raises:
        InputError: matplotlib or jinja2 is missing.
    """
    if missing := missing_package():
        raise InputError(
            f"report: {missing} is not installed: pip install kdescent-dist[plots], or set "
            "report.enabled=false"
        )


def save_plots(folder: Path, drawn: Sequence[Plot]) -> list[Image]:
    """Write each plot to a PNG file in ``folder``."""
    images = []
    for plot in drawn:
        path = folder / f"{plot.stem}.png"
        plot.figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})
        uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        width = round(plot.figure.get_figwidth() * DPI)
        images.append(Image(f"{folder.name}/{path.name}", uri, width, plot.caption))
    return images


def write_page(target: Path, template: str, **context: Any) -> Path:
    """Fill a template of this folder, such as ``report.html.j2``, and write the page."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = importlib.resources.files("kdescent_dist.report.pages") / "templates"
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**context)
    # Whoever has the old page open never finds half of the new one.
    partial = target.with_suffix(".html.part")
    partial.write_text(page, encoding="utf-8")
    return partial.replace(target)
