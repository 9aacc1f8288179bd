"""Conditional bins: a window on some columns, a comparison of others.

``edges``, ``few_training`` and ``bin`` turn a config into bins and count the training catalog in
them. ``stacks`` groups bins of equal shape. ``sums`` adds up a population in all bins, densely
or (``sparse``, ``sorting``) only over the samples within reach.
"""
