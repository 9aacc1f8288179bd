"""The report of a run, made from its directory alone: plots and one self-contained HTML page.

``read`` turns the files of a run into the records of ``data``; ``populations``, ``numbers``,
``residuals`` and ``history`` draw them, with the panels and colors of ``panels`` and the smoothed
histograms of ``density``; ``tables`` puts them into words and rows; ``page`` sets the page.
"""

from kdescent_dist.report.bin_page import make_bin_page
from kdescent_dist.report.html import missing_package, require_plots
from kdescent_dist.report.page import make_report

__all__ = ["make_bin_page", "make_report", "missing_package", "require_plots"]
