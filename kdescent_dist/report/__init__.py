"""Pages of a run, from its directory alone: no model, no JAX.

``data`` reads the files of a run into records, ``plots`` draws one panel a file, ``pages`` puts
panels and words together. A new panel is one file in ``plots`` and one line in the list of the
page, which is ``RUN_PAGE`` or ``INSPECTION_PAGE``. Another package needs no line: it names its
panel in the entry points ``kdescent_dist.panels`` or ``kdescent_dist.inspection_panels``.
"""

from kdescent_dist.report.pages.bin_page import make_bin_page
from kdescent_dist.report.pages.html import missing_package, require_plots
from kdescent_dist.report.pages.inspection_page import make_inspection
from kdescent_dist.report.pages.run_page import make_report

__all__ = ["make_bin_page", "make_inspection", "make_report", "missing_package", "require_plots"]
