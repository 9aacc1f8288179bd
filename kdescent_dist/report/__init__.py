"""The report of a run, made from its directory alone: plots and one self-contained HTML page.

``read`` turns the files of a run into the records of ``data``; ``populations``, ``numbers``,
``residuals`` and ``history`` draw them, with the panels and colors of ``panels`` and the smoothed
histograms of ``density``; ``tables`` puts them into words and rows; ``page`` sets the page.
"""

from kdescent_dist.report.page import make_report, require_plots

__all__ = ["make_report", "require_plots"]
