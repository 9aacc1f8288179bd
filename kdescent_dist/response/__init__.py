"""The response of fitted parameters to the sums: errors, distance to the minimum, Newton steps.

All of this is of one loss: the loss of the fit at one set of points, ``fixed_loss``. Its compared
numbers are linearized in the parameters (``linearizer``), with derivatives of the sums
(``population_derivatives``, ``compared``, ``custom_term``, ``prior_term``). ``distance`` tells how
far the minimum is, and ``newton`` goes there. ``covariance`` adds up the influences of all rows, or
those of all regions of rows (``region_sums``), from which ``whitening`` and ``goodness`` make a
chi-square. ``likelihood`` is the function that samplers need.
"""
