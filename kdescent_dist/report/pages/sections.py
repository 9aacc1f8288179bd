"""The sections of a page, one per panel. The failure of a panel affects only its own section."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kdescent_dist.config.registry import Registry
from kdescent_dist.report.pages.html import Image, fill, save_plot
from kdescent_dist.report.plots.panel import Panel

R = TypeVar("R")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        name: the anchor.
        link: the text of the link to the section.
        html: the section.
    """

    name: str
    link: str
    html: str


def make_sections(
    folder: Path, panels: Registry[Panel[R]], record: R, **context: Any
) -> tuple[list[Section], list[str]]:
    """Draw the panels of a page.

    Args:
        folder: folder of the PNG files; files of an earlier page are deleted.
        panels: the panels, in order.
        record: the record that the panels draw.
        context: further variables of the templates of the panels.

    Returns:
        The sections that are not empty, and sentences about failures.
    """
    from markupsafe import Markup

    known, broken = panels.working()
    found = [panel for panel in known if isinstance(panel, Panel)]
    others = [
        f"{panels.group}: {other!r} is no Panel" for other in known if not isinstance(other, Panel)
    ]
    notes = [f"A panel cannot be used: {reason}." for reason in (*broken, *others)]
    for note in notes:
        log.warning("report: %s", note)
    for old in folder.glob("*.png"):
        if any(panel.owns(old.stem) for panel in found):
            old.unlink()
    sections = []
    for panel in found:
        images: list[Image] = []
        failure = ""
        try:
            images.extend(_drawn(folder, panel, record))
        except Exception as error:
            failure = f"This part could not be drawn ({type(error).__name__}: {error})."
            notes.append(f"{panel.title}: {failure[:1].lower()}{failure[1:]}")
            log.warning("report: %s", notes[-1], exc_info=True)
        grouped = itertools.groupby(images, lambda image: (image.heading, image.folded))
        blocks = [(*of_group, list(some)) for of_group, some in grouped]
        html = fill(panel.template, panel=panel, blocks=blocks, failure=failure, **context)
        if html.strip():
            sections.append(Section(panel.name, panel.link or panel.title, Markup(html)))
    return sections, notes


def _drawn(folder: Path, panel: Panel[R], record: R) -> Iterator[Image]:
    for plot in panel.draw(record):
        if not panel.owns(plot.stem):
            raise ValueError(
                f"the stem of a plot is {plot.stem!r}: it must be {panel.name!r}, or begin with "
                f"'{panel.name}_'"
            )
        yield save_plot(folder, plot)
