"""HTML pages of a run, from its run directory alone, without the model and without JAX.

``data`` reads the files of a run into records. Each file of ``plots`` draws one panel. ``pages``
combines panels and text. A new panel is one file in ``plots`` and one line in ``RUN_PAGE`` or
``INSPECTION_PAGE``. Other packages add panels by the entry points ``kdescent_dist.panels`` and
``kdescent_dist.inspection_panels``.
"""

from kdescent_dist.report.pages.bin_page import make_bin_page
from kdescent_dist.report.pages.html import missing_package, require_plots
from kdescent_dist.report.pages.inspection_page import make_inspection
from kdescent_dist.report.pages.run_page import make_report

__all__ = ["make_bin_page", "make_inspection", "make_report", "missing_package", "require_plots"]
