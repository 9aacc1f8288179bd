"""The page of an inspection, which shows the start of a fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdescent_dist.config.registry import Registry
from kdescent_dist.report.data.inspection import Inspection, read_inspection
from kdescent_dist.report.data.records import Bin
from kdescent_dist.report.data.statistics import in_words, statistics_of
from kdescent_dist.report.pages.bin_table import cells, samples
from kdescent_dist.report.pages.html import require_plots, write_page
from kdescent_dist.report.pages.inspection_text import facts, parameter_rows
from kdescent_dist.report.pages.inspection_warnings import warnings_of
from kdescent_dist.report.pages.sections import make_sections
from kdescent_dist.report.plots import catalogs, guess, kernels, training_counts
from kdescent_dist.report.plots.panel import Panel

# In the order of the page. Panels of other packages come after them.
INSPECTION_PAGE: Registry[Panel[Inspection]] = Registry(
    "kdescent_dist.inspection_panels",
    (catalogs.PANEL, training_counts.PANEL, kernels.PANEL, guess.PANEL),
)


def make_inspection(run_dir: Path) -> Path:
    """Draw the page of ``inspect.npz`` in a run directory.

    Returns:
        Path of ``inspect.html`` in the run directory; the plots are in ``inspect``.

    Raises:
        InputError: a package of the extra ``plots`` is missing.
    """
    require_plots()
    found = read_inspection(Path(run_dir))
    folder = found.directory / "inspect"
    folder.mkdir(exist_ok=True)
    dropped = [
        (key.replace("_", " "), list(found.facts[key]["dropped"].items()))
        for key in ("catalog", "input_catalog")
        if found.facts.get(key, {}).get("dropped")
    ]
    sections, notes = make_sections(
        folder, INSPECTION_PAGE, found, found=found, dropped=dropped, **_table(found.bins)
    )
    return write_page(
        found.directory / "inspect.html",
        "inspect.html.j2",
        found=found,
        facts=facts(found),
        warnings=warnings_of(found),
        notes=notes,
        parameters=parameter_rows(found),
        sections=sections,
    )


def _table(bins: Sequence[Bin]) -> dict[str, Any]:
    """Statistics of the bins, and one row per bin, sorted by the number of training samples."""
    names = list(statistics_of(bins))
    rows = [
        {
            "number": str(b.number),
            "name": b.name,
            "columns": ", ".join(b.columns),
            "n": samples(b),
            "chisq": [cells(b.statistics.get(name))["guess"] for name in names],
        }
        for b in sorted(bins, key=lambda b: b.n_training)
    ]
    return {"statistics": [in_words(name) for name in names], "bins": rows}
