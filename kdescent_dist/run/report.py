"""Draws the report of a run, at the end of the run or later."""

import logging
from pathlib import Path
from typing import Any

from kdescent_dist.config.errors import InputError
from kdescent_dist.config.schema import Config, ReportConfig
from kdescent_dist.report import make_bin_page, make_report
from kdescent_dist.run.directory import RunDirectory

log = logging.getLogger(__name__)


def report_only(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Draw the report of a run again, or the page of one bin.

    Raises:
        InputError: there is no run in the run directory, or no such bin.
    """
    if not directory.result():
        raise InputError(f"run_dir={directory.path}: no result.json: there is nothing to report")
    if config.report.bin is not None:
        print(f"report: {make_bin_page(directory.path, config.report.bin)}")
    else:
        print(f"report: {make_report(directory.path, config.report)}")
    return directory.result()


def draw_report(path: Path, settings: ReportConfig) -> None:
    """Draw the report of a finished run in ``path``; a failure is logged, not raised."""
    try:
        log.info("report: %s", make_report(path, settings))
    except Exception as error:
        again = f"kdescent-dist mode=report run_dir={path}"
        log.warning("the report failed (%s); to draw it again: %s", error, again, exc_info=True)
