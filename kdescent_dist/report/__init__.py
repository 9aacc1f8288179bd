"""Reports of a run, made from its directory alone: plots and self-contained HTML pages.

``read`` turns the files of a run into the records of ``data``; ``populations``, ``numbers``,
``residuals``, ``history``, ``overview`` and ``cells`` draw them, with the panels and colors of
``panels`` and the smoothed histograms of ``density``; ``tables`` puts them into words and rows;
``page`` sets the page, and ``bin_page`` that of one bin. What is shown before a fit is read by
``inspection``, put into words by ``inspection_text``, drawn by ``catalogs`` and ``kernels``, and
set by ``inspection_page``.
"""

from kdescent_dist.report.bin_page import make_bin_page
from kdescent_dist.report.html import missing_package, require_plots
from kdescent_dist.report.inspection_page import make_inspection
from kdescent_dist.report.page import make_report

__all__ = ["make_bin_page", "make_inspection", "make_report", "missing_package", "require_plots"]
