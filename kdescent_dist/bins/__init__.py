"""Conditional bins: a window on some columns, a comparison of others.

``edges``, ``few_training`` and ``bin`` turn a config into bins and count the training catalog in
them. ``stacks`` groups bins of equal shape. ``sums`` adds up a population in all bins, densely
or (``sparse``, ``sorting``) only over the samples within reach.
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
