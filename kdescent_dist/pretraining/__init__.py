"""Training counts, computed once at many kernels and modes, from which the steps of a fit draw.

``draws`` places kernels and modes, ``sample`` is the weighted training sample by blocks,
``column_widths`` are the widths of its columns that outliers do not set,
``counting`` chooses direct sums or non-uniform FFTs. ``KPretrainer`` holds the result, ``KCalc``
compares a model sample with the result.
"""

from kdescent_dist.pretraining.kcalc import KCalc
from kdescent_dist.pretraining.pretrainer import KPretrainer

__all__ = ["KCalc", "KPretrainer"]
