"""After (or before) a fit: its populations and counts against the data.

``comparison`` and ``preview`` hold a fit or a guess against the training catalog. ``covariance``
and the files it calls (``influence``, ``population_influence``) derive the covariance of the
parameters from the noise of the catalogs.
"""
