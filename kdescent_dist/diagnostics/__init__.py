"""Comparison of a fit, or of a guess, with the data; and errors of the parameters.

``comparison`` compares guess and fit with the training catalog. ``preview`` compares the guess
before a fit. ``covariance`` derives the covariance of the parameters from the noise of the
catalogs, with the influences of ``influence`` and ``population_influence``.
"""
