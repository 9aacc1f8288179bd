"""Statistics of weighted samples that add up over disjoint sets.

Gaussian kernel counts (``kde``) and the empirical characteristic function (``fourier``), with
errors and gradients. Each is a table of pairs (``contraction``), contracted by a backend:
``tiled`` on CPUs, ``fused`` on GPUs, ``pallas``. ``local`` counts the samples that are here,
``sharded`` counts over a mesh.
"""
