"""Pages of a run, from its directory alone: no model, no JAX.

``data`` reads the files of a run into records, ``plots`` draws one figure a file, ``pages`` puts
figures and words together. A new panel is one file in ``plots`` and one line in the list of the
page.
"""

from kdescent_dist.report.pages.bin_page import make_bin_page
from kdescent_dist.report.pages.html import missing_package, require_plots
from kdescent_dist.report.pages.inspection_page import make_inspection
from kdescent_dist.report.pages.run_page import make_report

__all__ = ["make_bin_page", "make_inspection", "make_report", "missing_package", "require_plots"]
