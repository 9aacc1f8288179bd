"""Conditional bins: a window in some columns, and counts of other columns in the window.

``edges``, ``bin`` and ``few_training`` turn a config into bins. ``pretrained`` counts the training
catalog in a bin. ``ratio_errors`` has the errors of normalized counts, and ``expected_errors``
those that a model predicts. ``stacks`` groups bins of equal shape. ``sums`` sums over a population
in all bins: over all samples (``dense``), or over the samples in reach of a bin (``sparse``,
``sorting``).
"""

from kdescent_dist.bins.bin import Bin, expand_bins
from kdescent_dist.bins.edges import resolve_grids
from kdescent_dist.bins.few_training import count_bins, settle_bins
from kdescent_dist.bins.pretrained import PretrainedBin, pretrain_bin
from kdescent_dist.bins.windows import soft_tophat

__all__ = [
    "Bin",
    "PretrainedBin",
    "count_bins",
    "expand_bins",
    "pretrain_bin",
    "resolve_grids",
    "settle_bins",
    "soft_tophat",
]
