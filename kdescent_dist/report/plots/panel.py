"""Panels: the parts of a page, each under one heading.

A page is a list of panels. Another package adds a panel to the page of a run by an entry point::

    [project.entry-points."kdescent_dist.panels"]
    my_panel = "my_package.my_panel:PANEL"
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from kdescent_dist.report.data.records import Bin, grouped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

R = TypeVar("R")


@dataclass(frozen=True)
class Plot:
    """A figure with its text on the page.

    Attributes:
        stem: name of the PNG file, without the suffix.
        figure: the figure.
        caption: what the figure shows, in words.
        heading: a heading above the figure. Figures of the same heading follow each other.
        folded: a line that the reader clicks to see the figure; empty for a visible figure.
    """

    stem: str
    figure: "Figure"
    caption: str
    heading: str = ""
    folded: str = ""


@dataclass(frozen=True)
class Panel(Generic[R]):
    """A section of a page: a heading, a text and plots.

    A panel without any plot is left out of the page.

    Attributes:
        name: the anchor of the section, and the start of the names of the PNG files. A new page
            deletes the files of the page before it by this name.
        title: the heading, and the link at the top of the page.
        text: what to look for, in plain words.
        draw: draws the plots from the record of the page, which is a ``Run`` for the page of a
            run. The stem of a plot is the name of the panel, or the name with ``_`` and more.
        link: a shorter title for the link.
        stems: starts of the names of the PNG files, if the name of the panel is none of them.
        template: template in ``report/pages/templates`` of the section. Only panels of this
            package may change the default.
    """

    name: str
    title: str
    text: str
    draw: Callable[[R], Iterable[Plot]]
    link: str = ""
    stems: tuple[str, ...] = ()
    template: str = "panel.html.j2"

    def owns(self, stem: str) -> bool:
        """Whether a PNG file of this stem belongs to the panel."""
        return any(stem == own or stem.startswith(f"{own}_") for own in self.stems or (self.name,))


def named_groups(stem: str, bins: Sequence[Bin]) -> Iterator[tuple[str, str, list[Bin]]]:
    """Groups of bins that are drawn together.

    Args:
        stem: start of the names of the files.
        bins: bins of any groups.

    Yields:
        The group, the stem of its files, and its bins.
    """
    taken: set[str] = set()
    for group, members in grouped(bins):
        slug = re.sub(r"[^A-Za-z0-9]+", "-", group).strip("-")[:40] or "bins"
        while slug in taken:
            slug += "-x"
        taken.add(slug)
        yield group, f"{stem}_{slug}", members


def draw_groups(
    stem: str, bins: Sequence[Bin], draw: Callable[[str, list[Bin]], list[Plot]]
) -> list[Plot]:
    """Draw each group of bins separately. Several groups have headings."""
    groups = [(group, draw(own, members)) for group, own, members in named_groups(stem, bins)]
    groups = [(group, plots) for group, plots in groups if plots]
    if len(groups) == 1:
        return groups[0][1]
    return [replace(plot, heading=group) for group, plots in groups for plot in plots]
